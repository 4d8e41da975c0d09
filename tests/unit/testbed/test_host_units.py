"""Agents as units of systemd: a real one, of a user's."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from harness.user_systemd import UserSystemd
from slfac.testbed.hosts.archive import helper_archive, helper_name
from slfac.testbed.hosts.remote.agents import purge
from slfac.testbed.hosts.remote.units import choose_manager, unit_text

UNIT = "slfac-testbed-test-pi-1.service"
STAYS = "import time; print('here', flush=True); time.sleep(600)"
_PATIENCE_S = 60.0
LOGINCTL = """\
#!/bin/sh
case "$*" in
*disable-linger*) rm "$HOME/linger" ;;
*enable-linger*) touch "$HOME/linger" ;;
*) test -e "$HOME/linger" && echo yes || echo no ;;
esac
"""


@pytest.fixture
def systemd(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with UserSystemd(home) as systemd:
        yield systemd


class Agent:
    """An agent below a systemd."""

    def __init__(self, systemd, folder):
        data = helper_archive()
        # As HostPath lets a folder be called.
        self.folder = folder / "a folder" / "run"
        self.folder.parent.mkdir()
        self.helper = self.folder.parent / helper_name(data)
        self.helper.write_bytes(data)
        self.systemd = systemd

    def call(self, command, **values):
        done = self.systemd.run(
            sys.executable, "-I", str(self.helper), command, given=json.dumps(values) + "\n"
        )
        said = json.loads(done.stdout.splitlines()[-1])
        assert "problem" not in said, said
        return said["ok"]

    def start(self, program):
        agent = {
            "command": [sys.executable, "-c", program],
            "again": None,
            "environment": {},
            "never": [2],
        }
        values = {"agent": agent, "manager": "user", "unit": UNIT, "files": {}}
        return self.call("start", folder=str(self.folder), **values)

    def stop(self):
        return self.call("stop", folder=str(self.folder), unit=UNIT)

    def await_state(self, wanted, **more):
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            state = self.call("status", folder=str(self.folder))
            if state["state"] == wanted and all(state.get(k) == v for k, v in more.items()):
                return state
            assert time.monotonic() < deadline_s, state
            time.sleep(0.05)

    def is_active(self):
        return self.systemd.run("systemctl", "--user", "is-active", UNIT).stdout.strip()


def test_a_unit_runs_an_agent_keeps_it_and_is_taken_away(systemd, tmp_path):
    agent = Agent(systemd, tmp_path)
    agent.start(STAYS)
    state = agent.await_state("running")
    assert agent.is_active() == "active"
    assert systemd.run("systemctl", "--user", "is-enabled", UNIT).stdout.strip() == "enabled"
    # As before a boot: nobody has asked for the agent to stop.
    systemd.run("systemctl", "--user", "stop", UNIT)
    assert agent.await_state("lost")["starts"] == 1
    systemd.run("systemctl", "--user", "start", UNIT)
    state = agent.await_state("running", starts=2)
    # systemd starts the supervisor again, and that one the agent.
    os.kill(state["supervisor"], signal.SIGKILL)
    again = agent.await_state("running", starts=3)
    assert again["supervisor"] != state["supervisor"]
    assert agent.stop()["before"] == "running"
    assert agent.is_active() == "inactive"
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["systemd.log"]
    assert agent.stop() == {"before": "stopped", "killed": 0}


def test_an_agent_that_is_done_is_not_begun_again_by_its_unit(systemd, tmp_path):
    agent = Agent(systemd, tmp_path)
    agent.start("print('bye')")
    agent.await_state("done")
    # As a boot would.
    systemd.run("systemctl", "--user", "restart", UNIT)
    assert agent.await_state("done")["starts"] == 1
    agent.stop()


@pytest.mark.parametrize("manager", ["system", "user"])
def test_systemd_finds_no_fault_with_units(tmp_path, manager):
    place = tmp_path / "with a space"
    place.mkdir()
    file = tmp_path / UNIT
    names = {"helper": place / "helper.pyz", "folder": place, "python": sys.executable}
    file.write_text(unit_text(manager, UNIT, **names))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if UNIT in line] == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("systemd", "sudo", "user_units", "manager"),
    [
        (True, True, False, "system"),
        (False, False, False, "built-in"),
        (False, True, True, "built-in"),
        (True, False, False, "built-in"),
    ],
)
def test_what_runs_agents_where(tmp_path, systemd, sudo, user_units, manager):
    known = {"systemd": systemd, "sudo": sudo, "user_units": user_units}
    assert choose_manager(work=str(tmp_path), **known) == manager


@pytest.fixture
def logind(tmp_path, monkeypatch):
    """What stands in for logind, which only a whole system has; its file says who lingers."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "loginctl"
    program.write_text(LOGINCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "linger"


def test_lingering_that_a_testbed_asked_for_ends_with_the_last_of_them(logind, tmp_path):
    work = tmp_path / "work"
    for name in ("one", "two"):
        (work / name / "pi-1").mkdir(parents=True)
    assert choose_manager(work=str(work), systemd=True, sudo=False, user_units=True) == "user"
    assert logind.exists()
    purge(folder=str(work / "one" / "pi-1"), versions=str(work / "versions"))
    assert logind.exists()
    purge(folder=str(work / "two" / "pi-1"), versions=str(work / "versions"))
    assert not logind.exists()
    assert not work.exists()


def test_lingering_of_the_users_own_stays(logind, tmp_path):
    work = tmp_path / "work"
    (work / "one" / "pi-1").mkdir(parents=True)
    logind.touch()
    assert choose_manager(work=str(work), systemd=True, sudo=False, user_units=True) == "user"
    purge(folder=str(work / "one" / "pi-1"), versions=str(work / "versions"))
    assert logind.exists()
    assert not work.exists()
