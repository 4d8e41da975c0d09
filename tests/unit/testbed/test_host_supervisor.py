"""What runs on hosts, run as it is there: one archive, and Python without any package."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slfac.testbed.hosts.archive import helper_archive, helper_name, probe_source

pytestmark = pytest.mark.device
_PATIENCE_S = 60.0
ENDS = "import sys; print('bye'); sys.exit({code})"
STAYS = "import time; print('here', flush=True); time.sleep(600)"


class Host:
    """The archive on this machine."""

    def __init__(self, folder):
        data = helper_archive()
        self.helper = folder / helper_name(data)
        self.helper.write_bytes(data)
        self.folder = folder / "run"
        self.unit = "slfac-testbed-test-none.service"

    def call(self, command, **values):
        done = subprocess.run(
            [sys.executable, "-I", str(self.helper), command],
            input=json.dumps(values).encode() + b"\n",
            capture_output=True,
            timeout=_PATIENCE_S,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    def ok(self, command, **values):
        said = self.call(command, **values)
        assert "problem" not in said, said
        return said["ok"]

    def start(self, program, **agent):
        description = {
            "command": [sys.executable, "-c", program],
            "again": None,
            "environment": {},
            "never": [2],
            **agent,
        }
        values = {"agent": description, "manager": "built-in", "unit": self.unit, "files": {}}
        return self.ok("start", folder=str(self.folder), **values)

    def status(self):
        return self.ok("status", folder=str(self.folder))

    def await_state(self, wanted, **more):
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            state = self.status()
            if state["state"] in wanted and all(state.get(k) == v for k, v in more.items()):
                return state
            assert time.monotonic() < deadline_s, state
            time.sleep(0.02)

    def stop(self):
        return self.ok("stop", folder=str(self.folder), unit=self.unit)

    def events(self):
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    yield host
    host.stop()


def is_alive(pid):
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def await_death(*pids):
    deadline_s = time.monotonic() + _PATIENCE_S
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def await_lines(host, count):
    deadline_s = time.monotonic() + _PATIENCE_S
    while (host.folder / "agent.log").read_text().count("here") < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_an_agent_that_is_done_is_left_alone(host):
    host.start(ENDS.format(code=0))
    state = host.await_state(["done"])
    assert (state["starts"], state["last_line"]) == (1, "bye")
    assert [event["event"] for event in host.events()] == ["agent_started", "agent_ended"]


def test_an_agent_whose_failure_is_for_good_is_not_started_again(host):
    host.start(ENDS.format(code=2))
    assert host.await_state(["failed"])["code"] == 2


def test_an_agent_that_is_killed_is_started_again(host):
    host.start(STAYS)
    first = host.await_state(["running"])
    os.kill(first["agent"], signal.SIGKILL)
    second = host.await_state(["running"], starts=2)
    assert second["supervisor"] == first["supervisor"]
    assert {"event": "agent_ended", "signal": "SIGKILL"}.items() <= host.events()[1].items()


def test_started_again_it_goes_on_with_what_it_has_or_begins_anew(host, tmp_path):
    kept, half_done = tmp_path / "kept", tmp_path / "half-done"
    half_done.mkdir()
    again = {
        "exists": str(kept),
        "command": [sys.executable, "-c", ENDS.format(code=0)],
        "else_remove": str(half_done),
    }
    host.start(STAYS, again=again)
    os.kill(host.await_state(["running"])["agent"], signal.SIGKILL)
    second = host.await_state(["running"], starts=2)
    assert not half_done.exists()
    kept.mkdir()
    os.kill(second["agent"], signal.SIGKILL)
    assert host.await_state(["done"])["starts"] == 3


def test_an_agent_dies_with_its_supervisor_and_both_come_back_when_asked(host):
    host.start(STAYS)
    state = host.await_state(["running"])
    os.kill(state["supervisor"], signal.SIGKILL)
    await_death(state["supervisor"], state["agent"])
    assert host.status()["state"] == "lost"
    host.ok("resume", folder=str(host.folder), unit=host.unit)
    host.await_state(["running"], starts=2)
    assert host.events()[1] == {
        "event": "supervisor_restarted",
        "time": host.events()[1]["time"],
        "after": "loss",
    }


def test_a_host_that_shuts_down_cuts_its_agent_off_and_goes_on_after_the_boot(host, tmp_path):
    told = tmp_path / "told"
    leave = f"lambda *_: (open({str(told)!r}, 'w').close(), os._exit(0))"
    polite = f"import os, signal; signal.signal(signal.SIGTERM, {leave})"
    host.start(f"{polite}; {STAYS}")
    await_lines(host, 1)
    state = host.await_state(["running"])
    # As systemd does; nobody has asked for the agent to stop.
    os.kill(state["supervisor"], signal.SIGTERM)
    await_death(state["supervisor"], state["agent"])
    assert not told.exists()
    assert host.status()["state"] == "lost"
    host.ok("resume", folder=str(host.folder), unit=host.unit)
    await_lines(host, 2)
    assert host.stop()["before"] == "running"
    assert told.exists()
    assert host.status()["state"] == "stopped"


def test_a_full_drive_ends_no_supervisor_and_hinders_no_stop(host):
    host.start(STAYS)
    before = host.await_state(["running"])
    full = [host.folder / "state.json.new", host.folder / "events.jsonl"]
    full[1].unlink()
    for file in full:
        file.symlink_to("/dev/full")
    os.kill(before["agent"], signal.SIGKILL)
    await_death(before["agent"])
    full[0].unlink()
    after = host.await_state(["running"], starts=2)
    assert after["supervisor"] == before["supervisor"]
    full[0].symlink_to("/dev/full")
    assert host.stop()["before"] == "running"
    await_death(after["supervisor"], after["agent"])
    full[0].unlink()


def test_stopping_ends_everything_however_stubborn_and_can_be_repeated(host):
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAYS}"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STAYS!r}])"
    host.start(child)
    state = host.await_state(["running"])
    assert host.stop()["before"] == "running"
    await_death(state["supervisor"], state["agent"])
    assert host.status()["state"] == "stopped"
    assert host.stop() == {"before": "stopped", "killed": 0}
    host.start(stubborn)
    state = host.await_state(["running"])
    # Before the supervisor's patience with its agent is at an end.
    os.kill(state["supervisor"], signal.SIGKILL)
    await_death(state["supervisor"])
    host.stop()
    await_death(state["agent"])


def test_a_second_start_takes_the_place_of_the_first(host):
    first = host.start(STAYS)
    second = host.start(STAYS)
    await_death(first["supervisor"])
    assert second["supervisor"] != first["supervisor"]
    assert host.status()["state"] == "running"


def test_a_watcher_tells_of_changes_and_leaves_when_nobody_listens(host):
    host.start(STAYS)
    watching = subprocess.Popen(
        [sys.executable, str(host.helper), "watch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with watching:
        values = {"folder": str(host.folder), "files": {"events.jsonl": 0}}
        watching.stdin.write(json.dumps(values).encode() + b"\n")
        watching.stdin.flush()
        said = [json.loads(watching.stdout.readline()) for _ in range(2)]
        assert {"agent_started"} == {
            json.loads(one["line"])["event"] for one in said if "line" in one
        }
        assert {"running"} == {one["state"]["state"] for one in said if "state" in one}
        watching.stdin.close()
        assert watching.wait(_PATIENCE_S) == 0


def test_a_program_that_is_attended_ends_with_whoever_attends_it(host, tmp_path):
    attending = subprocess.Popen(
        [sys.executable, str(host.helper), "attend"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with attending:
        program = f"import os; print(os.getpid()); {STAYS}"
        values = {"command": [sys.executable, "-c", program], "folder": str(tmp_path)}
        attending.stdin.write(json.dumps(values).encode() + b"\n")
        attending.stdin.flush()
        pid = int(json.loads(attending.stdout.readline())["line"])
        attending.stdin.close()
        await_death(pid)


def test_room_is_asked_for_before_anything_is_unpacked(host, tmp_path):
    said = host.call("unpack", folder=str(tmp_path / "v"), version="a", size_bytes=10**18)
    assert "MB free, and slfac takes" in said["problem"]
    assert not (tmp_path / "v" / "a").exists()


def test_what_is_no_archive_leaves_nothing(host, tmp_path):
    said = host.call("unpack", folder=str(tmp_path / "v"), version="a", size_bytes=1)
    assert "could not be unpacked" in said["problem"]
    assert [path.name for path in (tmp_path / "v").iterdir()] == [".lock"]


def test_releases_that_nothing_uses_are_removed(host, tmp_path):
    for name in ("old", "used-elsewhere", "new"):
        (tmp_path / "versions" / name / "bin").mkdir(parents=True)
    other = tmp_path / "another" / "pi-1" / "run"
    other.mkdir(parents=True)
    command = [str(tmp_path / "versions" / "used-elsewhere" / "bin" / "slfac")]
    (other / "agent.json").write_text(json.dumps({"command": command}))
    versions = str(tmp_path / "versions")
    assert host.ok("tidy", folder=versions, keep=["new"])["removed"] == ["old"]
    own = tmp_path / "one" / "pi-1"
    own.mkdir(parents=True)
    for existed in (True, False):
        said = host.ok("purge", folder=str(own), versions=versions)
        assert said == {"removed": existed}
    assert not (tmp_path / "one").exists()
    assert [path.name for path in (tmp_path / "versions").iterdir()] == ["used-elsewhere"]


def test_secret_keys_never_leave(host, tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "device.key_secret").write_text("secret")
    (keys / "device.key").write_text("public")
    assert host.call("read", path=str(keys / "device.key_secret"))["problem"].endswith("is secret")
    done = subprocess.run(
        [sys.executable, str(host.helper), "pack"],
        input=json.dumps({"folder": str(tmp_path), "leave_out": []}).encode() + b"\n",
        capture_output=True,
        check=True,
    )
    packed = tmp_path / "packed.tar.gz"
    packed.write_bytes(done.stdout)
    names = subprocess.run(
        ["tar", "tzf", str(packed)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "keys/device.key" in names
    assert not any("secret" in name for name in names)


def test_the_probe_says_what_this_machine_is(tmp_path):
    done = subprocess.run(
        [sys.executable, "-", str(tmp_path / "a" / "b")],
        input=probe_source(),
        capture_output=True,
        check=True,
    )
    facts = json.loads(done.stdout)
    assert facts["folder"] == str(tmp_path / "a" / "b")
    assert facts["nearest"] == str(tmp_path)
    assert facts["writable"] is True
    assert facts["free_bytes"] > 0
    assert facts["python"].split(".")[:2] == [str(part) for part in sys.version_info[:2]]


def test_the_same_files_give_the_same_archive():
    assert helper_archive() == helper_archive()
