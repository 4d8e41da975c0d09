"""What systemd is told, on a socket such as it makes."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from slfac.device.notify import Notifier

pytestmark = pytest.mark.device


@pytest.fixture
def systemd(tmp_path):
    """A socket to be told on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.setblocking(False)
        yield ear


def heard(ear):
    """Everything that was said."""
    said = []
    while True:
        try:
            said.append(ear.recv(4096).decode())
        except BlockingIOError:
            return said


def notifier(ear, clock_s=lambda: 0.0, **environment):
    return Notifier({"NOTIFY_SOCKET": ear.getsockname(), **environment}, clock_s)


def test_beginning_state_and_end_are_said(systemd):
    told = notifier(systemd)
    told.ready()
    told.status("round 1 of 3:\n  training loss 0.5")
    told.stopping()
    expected = ["READY=1", "STATUS=round 1 of 3: training loss 0.5", "STOPPING=1"]
    assert heard(systemd) == expected


def test_a_status_cannot_say_anything_else_and_has_an_end(systemd):
    notifier(systemd).status("x\nWATCHDOG=1\n" + "y" * 10_000)
    (said,) = heard(systemd)
    assert "\n" not in said
    assert len(said) < 300


def test_the_watchdog_is_told_four_times_as_often_as_it_must_be(systemd):
    now = [0.0]
    told = notifier(systemd, lambda: now[0], WATCHDOG_USEC="40000000")
    for seconds in range(31):
        now[0] = float(seconds)
        told.alive()
    assert heard(systemd) == ["WATCHDOG=1"] * 4


def test_another_thread_does_not_speak_for_the_one_that_trains(systemd):
    told = notifier(systemd, WATCHDOG_USEC="1000000")
    thread = threading.Thread(target=told.alive)
    thread.start()
    thread.join()
    assert heard(systemd) == []
    told.alive()
    assert heard(systemd) == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"},
     {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}],
)  # fmt: skip
def test_without_a_watchdog_for_this_process_it_is_not_told(systemd, environment):
    notifier(systemd, **environment).alive()
    assert heard(systemd) == []


def test_a_watchdog_for_this_process_is_told(systemd):
    notifier(systemd, WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid())).alive()
    assert heard(systemd) == ["WATCHDOG=1"]


def test_an_abstract_socket_is_one_too():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0slfac-test-{os.getpid()}")
        Notifier({"NOTIFY_SOCKET": f"@slfac-test-{os.getpid()}"}).ready()
        assert ear.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@", "/" + "x" * 300])
def test_where_nobody_listens_nothing_happens(address):
    told = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    told.ready()
    told.status("x")
    told.alive()
    told.stopping()


def test_a_queue_that_is_full_holds_nobody_up(systemd):
    told = notifier(systemd)
    for _ in range(2000):
        told.ready()
    assert 0 < len(heard(systemd)) < 2000


def test_a_device_that_waits_for_its_server_is_alive(systemd):
    told = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "400000"}
    nowhere = ["--server", "tcp://127.0.0.1:1", "--insecure", "--connect-timeout-s", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "slfac.cli", "device", "--data", "d", *nowhere],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "no server answered" in done.stderr) == (30, True), done.stderr
    said = heard(systemd)
    assert "READY=1" in said
    assert said[-1] == "STOPPING=1"
    assert said.count("WATCHDOG=1") >= 3
