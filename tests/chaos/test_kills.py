"""kill -9 at the worst moment: the others go on, nothing is left behind."""

import signal
import subprocess
import sys

import psutil
import pytest

from harness.site import WAIT_S, Site, start_cli


def test_device_killed_in_mid_round_leaves_the_run_to_the_others(tmp_path, cnn_bundle, digits):
    site = Site.make(tmp_path, cnn_bundle, digits, devices=3)
    with site.server(rounds=6, grace_s=1) as server:
        victim = site.device_process("d2", server.address)
        others = [site.device(name, server.address).start() for name in site.names[:2]]
        server.await_event("round", round=0)
        server.await_event("step", round=1, device="d2")
        victim.kill()
        victim.communicate(timeout=WAIT_S)
        for device in others:
            assert device.finish().rounds == 6
    left = [event for event in server.of_kind("left") if event["device"] == "d2"]
    assert left[0]["reason"] == "its connection is gone"
    assert [entry.devices for entry in server.finished().rounds][-1] == 2


@pytest.mark.parametrize("journal", ["journal", "another"])
def test_killed_device_that_starts_again_goes_on_with_its_journal_or_joins_the_next_round(
    tmp_path, cnn_bundle, digits, journal
):
    site = Site.make(tmp_path, cnn_bundle, digits, devices=2)
    with site.server(rounds=20, steps_per_round=4, grace_s=30) as server:
        victim = site.device_process("d1", server.address)
        other = site.device("d0", server.address).start()
        server.await_event("step", round=1, device="d1")
        victim.kill()
        victim.communicate(timeout=WAIT_S)
        again = site.device("d1", server.address, journal=tmp_path / journal).start()
        assert again.finish().rounds > 0
        other.finish()
    came = [(e["event"], e["device"]) for e in server.seen if e["event"] in {"joined", "resumed"}]
    rounds = [entry.devices for entry in server.finished().rounds]
    if journal == "journal":
        assert came[2:] == [("resumed", "d1")]
        assert rounds == [2] * 20
    else:
        assert came[2:] == [("joined", "d1")]
        assert rounds.count(1) == 1


def server_in_training(site):
    """A server process that waits for its devices, and its address."""
    process = start_cli(
        *("server", "--bundle", str(site.bundle), "--keys", str(site.keys("server"))),
        *("--out", str(site.root / "first"), "--bind", "tcp://127.0.0.1:*"),
        *("--partition", "iid", "--rounds", "1000"),
    )
    for line in process.stderr:
        if " at tcp://" in line:
            return process, line.split(" at ")[1].split(",")[0]
    raise AssertionError("the server never said where it listens")


def test_killed_server_is_said_by_its_devices(site):
    process, address = server_in_training(site)
    short = ("--reconnect-timeout-s", "2")
    devices = [site.device_process(name, address, *short) for name in site.names]
    for line in process.stderr:
        if "round 1/" in line:
            break
    process.kill()
    process.communicate(timeout=WAIT_S)
    for device in devices:
        _, errors = device.communicate(timeout=WAIT_S)
        assert device.returncode == 30
        assert "lost the server" in errors
        assert "did not come back within 2 s" in errors.splitlines()[-1]


def test_devices_join_the_next_server_with_its_own_settings(site):
    process, address = server_in_training(site)
    devices = [site.device(name, address).start() for name in site.names]
    for line in process.stderr:
        if "round 1/" in line:
            break
    process.kill()
    process.communicate(timeout=WAIT_S)
    with site.server(bind=address, batch_size=8, partition="own", rounds=1) as server:
        for device in devices:
            assert device.finish().samples == 240
    assert {d.totals.steps for d in server.finished().devices} == {240 // 8}


def demo_in_training(tmp_path, digits):
    """A demo whose devices are at work, and its child processes."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "slfac.cli", "demo", "--devices", "2", "--rounds", "500"),
            *("--data", str(digits), "--out", str(tmp_path / "demo")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        if "round" in line and "accuracy" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 3
    return process, children


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_demo_says_one_line_and_leaves_no_process(tmp_path, digits, number, code):
    precious = [tmp_path / "demo" / name for name in ("keys/server.key", "cache/x", "checkpoint/y")]
    for path in precious:
        path.parent.mkdir(parents=True)
        path.write_text("precious")
    process, children = demo_in_training(tmp_path, digits)
    process.send_signal(number)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == code
    assert "Traceback" not in output
    assert output.strip().splitlines()[-1].startswith("slfac demo: ")
    assert all(path.read_text() == "precious" for path in precious)
    assert not list((tmp_path / "demo").rglob("*.key_secret"))
    assert not psutil.wait_procs(children, timeout=WAIT_S)[1]


def test_killed_demo_leaves_no_process(tmp_path, digits):
    process, children = demo_in_training(tmp_path, digits)
    process.kill()
    process.communicate(timeout=WAIT_S)
    assert not psutil.wait_procs(children, timeout=WAIT_S)[1]


def test_demo_names_the_process_that_failed(tmp_path, digits):
    data = tmp_path / "data"
    data.mkdir()
    for file in digits.iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    process = subprocess.run(
        [
            *(sys.executable, "-m", "slfac.cli", "demo", "--devices", "2", "--rounds", "1"),
            *("--data", str(data), "--out", str(tmp_path / "demo"), "--partition"),
            "dirichlet:beta=0.5,min_samples=1000",
        ],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert process.returncode == 60
    last = process.stderr.strip().splitlines()[-1]
    assert "device-" in last
    assert "exit code 10" in last
    assert "240 samples are too few" in last
