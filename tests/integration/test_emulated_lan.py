"""Emulated LANs with real packets: what links do to them, and that nothing stays behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from harness.lan import ECHO, is_running, link, plan, python, raised, serving, wait_until
from slfac.cli import main
from slfac.testbed.emulate.lan import end_lan, find_lan, raise_lan
from slfac.testbed.emulate.places import lan_folder, lans
from slfac.wire.errors import RunError, SettingsError

ASK = """
import json, socket, sys, time
count, size, wait, to = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(wait)
trips = []
for number in range(count):
    began = time.perf_counter()
    s.sendto(number.to_bytes(4, "big") + bytes(size - 4), (to, 9))
    try:
        while s.recv(65536)[:4] != number.to_bytes(4, "big"):
            pass
        trips.append(time.perf_counter() - began)
    except TimeoutError:
        pass
print(json.dumps(trips))
"""
FLOOD = """
import json, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("server", 9))
came = 0
for number in range(int(sys.argv[1])):
    s.send(bytes(100))
    time.sleep(0.001)
s.settimeout(2)
try:
    while s.recv(65536):
        came += 1
except TimeoutError:
    print(json.dumps(came))
"""
TAKE = """
import socket
s = socket.create_server(("", 9))
print("up", flush=True)
while True:
    c = s.accept()[0]
    while c.recv(65536):
        pass
    c.sendall(b"x")
"""
SEND = """
import json, socket, sys, time
s = socket.create_connection(("server", 9))
began = time.perf_counter()
s.sendall(bytes(int(sys.argv[1])))
s.shutdown(socket.SHUT_WR)
assert s.recv(1) == b"x"
print(json.dumps(time.perf_counter() - began))
"""


@pytest.fixture
def end():
    """Ends processes after the test."""
    processes = []
    yield processes.append
    for process in processes:
        process.kill()
        process.communicate()


def test_hosts_have_names_addresses_and_processes_of_their_own():
    look = """
        import json, os, socket
        own = socket.create_server(("127.0.0.1", 5555)).getsockname()[1]
        names = [socket.gethostname(), *map(socket.gethostbyname, ("server", "pi-2"))]
        print(json.dumps([*names, os.getpid() < 10, os.path.exists("/proc/1/stat"), own]))
    """
    with raised(plan(link("pi-1"), link("pi-2"))) as lan:
        found = python(lan, "pi-1", textwrap.dedent(look))
        assert found == ["pi-1", "10.77.0.1", "10.77.0.12", True, True, 5555]
        assert list(lan.hosts) == ["server", "control", "pi-1", "pi-2"]
        assert lan.server_address == "tcp://10.77.0.1:5555"
        assert find_lan(lan.name).hosts == lan.hosts
        assert lan.name in lans()
    assert lan.name not in lans()


@pytest.mark.parametrize("shaper", ["tap", "kernel"])
def test_delay_holds_both_ways_between_all_hosts(shaper, end):
    links = [link("pi-1", delay_s=0.03), link("pi-2", delay_s=0.01)]
    with raised(plan(*links, shaper=shaper)) as lan:
        for host in ("server", "pi-2"):
            end(serving(lan, host, ECHO))
        assert python(lan, "pi-2", ASK, 3, 100, 20, "10.77.0.12")  # a host reaches itself
        for host, least_s in (("server", 0.06), ("pi-2", 0.08)):
            trips = python(lan, "pi-1", ASK, 10, 100, 20, host)
            assert len(trips) == 10
            assert least_s <= min(trips) < least_s + 0.05
        assert min(python(lan, "control", ASK, 10, 100, 20, "server")) < 0.02


@pytest.mark.parametrize("shaper", ["tap", "kernel"])
def test_the_rate_holds_each_way_by_itself(shaper, end):
    limited = link("pi-1", up_bit_per_s=4e6, queue_s=0.5)
    with raised(plan(limited, shaper=shaper)) as lan:
        end(serving(lan, "server", TAKE))
        seconds = python(lan, "pi-1", SEND, 500_000)
        # With headers of 66 in 1514 bytes, and once more as long for a busy machine.
        assert 8 * 500_000 / 4e6 * 1514 / 1448 * 0.97 <= seconds < 4
        up, down = (lan.counters()["pi-1"][way]["sent_bytes"] for way in ("up", "down"))
        assert up > 500_000 * 1514 / 1448 * 0.99
        assert down < up / 5


def lost_of(seed, end):
    """How many of 300 packets a LAN of a seed loses."""
    with raised(plan(link("pi-1", loss=0.2), seed=seed)) as lan:
        end(serving(lan, "server", ECHO))
        python(lan, "pi-1", FLOOD, 300)
        return lan.counters()["pi-1"]["up"]["lost"]


def test_packets_get_lost_as_often_as_told_and_as_the_seed_says(end):
    with raised(plan(link("pi-1", loss=0.2), seed=3)) as lan:
        end(serving(lan, "server", ECHO))
        came = python(lan, "pi-1", FLOOD, 300)
        counted = lan.counters()["pi-1"]
        lost = counted["up"]["lost"] + counted["down"]["lost"]
        assert came == 300 - lost
        assert 70 <= lost <= 150  # 108 are to be expected
        assert counted["up"]["packets"] + counted["up"]["lost"] == 300
    # Ever as many for a seed: which ones depends on their order alone.
    assert counted["up"]["lost"] == 60
    assert lost_of(4, end) != 60


@pytest.mark.parametrize("shaper", ["tap", "kernel"])
def test_a_cut_link_carries_nothing_until_it_is_mended(shaper, end):
    with raised(plan(link("pi-1"), link("pi-2"), shaper=shaper)) as lan:
        end(serving(lan, "server", ECHO))
        lan.cut("pi-1")
        assert python(lan, "pi-1", ASK, 3, 100, 0.2, "server") == []
        assert len(python(lan, "pi-2", ASK, 3, 100, 20, "server")) == 3
        if shaper == "tap":
            assert lan.counters()["pi-1"]["up"]["cut_off"] == 3
        assert lan.restore("pi-1")
        assert not lan.restore("pi-1")
        assert len(python(lan, "pi-1", ASK, 3, 100, 20, "server")) == 3
        (cut,) = lan.status()["cuts"]
        assert cut["device"] == "pi-1"
        assert cut["until_s"] > cut["from_s"]


def test_cuts_end_by_themselves_and_come_by_schedule():
    planned = plan(link("pi-1", cuts=((0.2, 0.3), (0.8, 0.1))), link("pi-2"))
    with raised(planned) as lan:
        lan.cut("pi-2", 0.2)
        assert lan.status()["cuts"][0]["until_s"] is None
        lan.begin()
        lan.begin()

        def wait_for(count):
            wait_until(
                lambda: [c["until_s"] is not None for c in lan.status()["cuts"]] == [True] * count,
                f"{count} cuts have ended",
            )

        wait_for(3)
        spans = {c["from_s"]: c["until_s"] - c["from_s"] for c in lan.status()["cuts"]}
        for seconds, told in zip(spans.values(), (0.2, 0.3, 0.1), strict=True):
            assert told - 0.02 <= seconds < told + 5
        lan.begin()  # as the next run on the same hosts does
        wait_for(5)


def test_a_cut_that_replaces_another_lasts_its_own_time():
    with raised(plan()) as lan:
        lan.cut("pi-1", 0.1)
        lan.cut("pi-1")
        time.sleep(
            0.3
        )  # the first one's end must not mend the second: there is nothing to wait for
        assert lan.status()["cuts"][-1]["until_s"] is None


def test_sockets_of_a_host_are_in_its_network(end):
    with raised(plan()) as lan:
        end(serving(lan, "server", TAKE))
        with lan.socket_in("control") as reaching:
            reaching.connect((lan.hosts["server"].address, 9))
            reaching.sendall(b"1")
            assert reaching.getsockname()[0] == lan.hosts["control"].address
        with pytest.raises(SettingsError, match="there is no 'mars'"):
            lan.socket_in("mars")


def test_what_a_lan_cannot_do_is_refused_in_words():
    with raised(plan()) as lan:
        for call in (lambda: lan.cut("mars"), lambda: lan.restore("server")):
            with pytest.raises(SettingsError, match=r"there are pi-1"):
                call()
        for seconds in (0, -1, float("nan"), 1e9):
            with pytest.raises(SettingsError, match="no time for a cut"):
                lan.cut("pi-1", seconds)
        with pytest.raises(RunError, match="is up already"):
            raise_lan(plan(name=lan.name))
        assert not lan.status()["cuts"]
    with pytest.raises(RunError, match="no emulated testbed named"):
        find_lan(lan.name)
    with pytest.raises(SettingsError, match="is no name"):
        find_lan("../x")


def test_a_program_ends_as_it_would_elsewhere(end):
    with raised(plan()) as lan:
        host = lan.hosts["pi-1"]
        run = subprocess.run
        assert run(host.command(["sh", "-c", "exit 7"]), check=False).returncode == 7
        assert run(host.command(["sh", "-c", "kill -9 $$"]), check=False).returncode == -9
        nothing = run(host.command(["/no/such"]), check=False, capture_output=True, text=True)
        assert nothing.returncode == 127
        assert "cannot run /no/such" in nothing.stderr
        code = (
            "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5));"
            "print('up', flush=True); signal.pause()"
        )
        process = serving(lan, "pi-1", code)
        end(process)
        process.terminate()
        assert process.wait(20) == 5
    gone = run(host.command(["true"]), check=False, capture_output=True, text=True)
    assert gone.returncode == 125
    assert "is its testbed still up?" in gone.stderr


# Leaves its session and parent, as a daemon does, and tells its process's number outside.
DAEMON = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").close()
        signal.pause()
os._exit(0)
"""


def processes_of(lan):
    """Every process in the hosts of a LAN, and the LAN's own."""
    pids = {lan.status()["pid"]}
    namespaces = {host.namespace for host in lan.hosts.values()}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "ns/net").stat().st_ino in namespaces:
                pids.add(int(folder.name))
    return pids


def start_daemon(lan, tmp_path):
    file = tmp_path / "started"
    command = [sys.executable, "-c", DAEMON, str(file)]
    subprocess.run(lan.hosts["pi-1"].command(command), check=True)
    wait_until(file.exists, "the daemon runs")


def test_daemons_end_with_their_lan(tmp_path):
    with raised(plan()) as lan:
        start_daemon(lan, tmp_path)
        pids = processes_of(lan)
        assert len(pids) >= 5
    wait_until(lambda: not any(map(is_running, pids)), "all are gone")
    assert not lan_folder(lan.name).exists()


def test_nothing_survives_the_death_of_a_lans_process(tmp_path):
    with raised(plan()) as lan:
        start_daemon(lan, tmp_path)
        pids = processes_of(lan)
        os.kill(lan.status()["pid"], signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, pids)), "all are gone")
        with pytest.raises(RunError):
            lan.cut("pi-1")
    assert not end_lan(lan.name)
    assert not lan_folder(lan.name).exists()


def test_nothing_survives_the_death_of_who_made_a_lan(tmp_path):
    with raised(plan()):
        pass  # is skipped where there can be none
    planned = plan()
    code = """
        import signal, sys
        from slfac.testbed.emulate.lan import raise_lan
        from slfac.testbed.emulate.plan import plan_from_json
        lan = raise_lan(plan_from_json(sys.argv[1]))
        print("up", flush=True)
        signal.pause()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), planned.to_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout.readline() == "up\n"
        lan = find_lan(planned.name)
        start_daemon(lan, tmp_path)
        pids = processes_of(lan)
        maker.kill()
    wait_until(lambda: not any(map(is_running, pids)), "all are gone")
    wait_until(lambda: not lan_folder(planned.name).exists(), "its files are gone")


def test_a_detached_lan_stays_until_it_is_ended(tmp_path):
    with raised(plan()):
        pass
    planned = plan()
    with raise_lan(planned, tied=False) as lan:
        start_daemon(lan, tmp_path)
    pids = processes_of(lan)
    assert find_lan(planned.name).restore("pi-1") is False
    assert end_lan(planned.name)
    wait_until(lambda: not any(map(is_running, pids)), "all are gone")
    assert not end_lan(planned.name)
    assert not lan_folder(planned.name).exists()


def test_the_command_makes_a_lan_until_ctrl_c(tmp_path, end):
    with raised(plan()):
        pass
    name = plan().name
    file = tmp_path / "lab.yaml"
    file.write_text(f"name: {name}\nserver: {{}}\ndevices: [{{name: pi-1, data: d}}]\n")
    command = [sys.executable, "-m", "slfac.cli", "testbed"]
    start = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*command, "emulate", str(file)], **start)
    end(process)
    while "Ctrl-C" not in (line := process.stdout.readline()):
        assert line, process.stderr.read()

    def run(action, *arguments):
        called = [*command, action, "--name", name, *arguments]
        return subprocess.run(called, check=True, **start).stdout

    assert run("exec", "pi-1", "--", "hostname") == "pi-1\n"
    run("cut", "pi-1", "--for", "1min")
    assert json.loads(run("links", "--json"))["cuts"][0]["device"] == "pi-1"
    assert "carries again" in run("restore", "pi-1")
    pids = processes_of(find_lan(name))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    wait_until(lambda: not any(map(is_running, pids)), "all are gone")
    assert name not in lans()


def without_other_inventories():
    """Skips the test where somebody else's testbed is up: which one is meant is not clear then."""
    if others := [name for name, made_by in lans().items() if not made_by]:
        pytest.skip(f"testbeds are up: {others}")


@pytest.mark.parametrize(
    "action", [["cut", "pi-1"], ["restore", "pi-1"], ["links"], ["exec", "pi-1", "--", "true"]]
)
def test_what_a_command_made_for_itself_is_taken_by_its_name_only(action, capsys):
    without_other_inventories()
    with raise_lan(plan(shaper="relay", made_by="slfac experiment")) as lan:
        assert main(["testbed", *action]) == 60
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        assert f"{lan.name} by `slfac experiment`" in line
        assert "--name " in line
        assert lan.status()["cuts"] == []
        assert main(["testbed", "cut", "--name", lan.name, "pi-1"]) == 0
        assert [cut["device"] for cut in lan.status()["cuts"]] == ["pi-1"]


def test_the_only_testbed_of_an_inventory_is_meant_beside_others(capsys):
    without_other_inventories()
    with (
        raise_lan(plan(shaper="relay")) as own,
        raise_lan(plan(shaper="relay", made_by="slfac testbed goodput")) as other,
    ):
        assert main(["testbed", "cut", "pi-1"]) == 0
        assert [cut["device"] for cut in own.status()["cuts"]] == ["pi-1"]
        assert other.status()["cuts"] == []
        assert main(["testbed", "links", "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == own.name


def test_where_hosts_cannot_be_made_links_are_relayed(end):
    planned = plan(link("pi-1", delay_s=0.05), link("pi-2"), shaper="relay")
    with raise_lan(planned) as lan:
        assert lan.shaper == "relay"
        assert any("loss" in limit for limit in lan.limits)
        host, port = lan.server_address.removeprefix("tcp://").split(":")
        code = TAKE.replace('("", 9)', f'("{host}", {port})')
        with subprocess.Popen(
            lan.hosts["server"].command([sys.executable, "-c", code]),
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout.readline() == "up\n"
            port = lan.hosts["pi-1"].server_address.rpartition(":")[2]
            send = SEND.replace('("server", 9)', f'("{host}", {port})')
            lan.cut("pi-1")
            sending = [sys.executable, "-c", send, "1000"]
            client = subprocess.Popen(sending, stdout=subprocess.PIPE, text=True)
            end(client)
            with pytest.raises(subprocess.TimeoutExpired):
                client.wait(0.5)
            lan.restore("pi-1")
            assert float(client.communicate(timeout=20)[0]) >= 0.1
            server.kill()
        assert lan.counters()["pi-1"]["up"]["sent_bytes"] == 1000
        assert lan.counters()["pi-2"]["up"]["sent_bytes"] == 0
