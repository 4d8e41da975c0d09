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
from slfac.testbed.hosts.remote.units import choose_manager, unit_text

UNIT = "slfac-testbed-test-pi-1.service"
STAYS = "import time; print('here', flush=True); time.sleep(600)"
_PATIENCE_S = 60.0


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
    # systemd starts the supervisor again, and that one the agent.
    os.kill(state["supervisor"], signal.SIGKILL)
    again = agent.await_state("running", starts=2)
    assert again["supervisor"] != state["supervisor"]
    assert agent.stop()["before"] == "running"
    assert agent.is_active() == "inactive"
    assert not list((tmp_path / "home").rglob("*.service"))
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
def test_what_runs_agents_where(systemd, sudo, user_units, manager):
    assert choose_manager(systemd=systemd, sudo=sudo, user_units=user_units) == manager
