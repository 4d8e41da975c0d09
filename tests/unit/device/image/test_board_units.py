"""The units and rules for boards, by the programs that will read them there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from slfac.device.image import board
from slfac.device.image.board import BOARD_FILES, ENABLED, firstboot, growroot
from slfac.device.image.settings import places

pytestmark = pytest.mark.device

FOLDER = Path(board.__file__).parent
UNITS = [file.name for file in BOARD_FILES if file.name.endswith(".service")]


def tool(name):
    """A program of systemd's, which is part of any system with units to check."""
    found = shutil.which(name)
    assert found, f"{name} is missing: sudo apt install systemd"
    return found


def run(program, *arguments):
    """Run it; its exit code and all it says."""
    done = subprocess.run([tool(program), *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def system(tmp_path):
    """A system with these files on it, and programs where they say."""
    shutil.copytree("/usr/lib/systemd", tmp_path / "usr/lib/systemd", symlinks=True)
    release = int(re.search(r"systemd (\d+)", run("systemd-analyze", "--version")[1])[1])
    for file in BOARD_FILES:
        if release >= file.least_systemd:
            path = tmp_path / file.place.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read())
            path.chmod(file.mode)
    for name in ("opt/slfac/current/bin/slfac", "usr/bin/python3", "usr/sbin/wpa_supplicant"):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


def verify(system):
    units = [name.replace("@", "@wlan0") for name in UNITS]
    return run("systemd-analyze", f"--root={system}", "verify", *units)


def test_systemd_finds_nothing_wrong_with_the_units(system):
    assert verify(system) == (0, "")


def test_it_would_find_something(system):
    path = system / "usr/lib/systemd/system/slfac-device.service"
    path.write_text(path.read_text().replace("Restart=always", "Restart=sometimes"))
    assert "restart specifier" in verify(system)[1]
    (system / "usr/bin/python3").unlink()
    assert verify(system)[0] != 0


def test_the_agent_is_locked_in(system):
    # 10.0 is not locked in at all.
    bound = ("security", "--offline=true", "--threshold=25", "slfac-device.service")
    code, said = run("systemd-analyze", f"--root={system}", *bound)
    assert code == 0, said[-300:]


def test_every_file_has_its_place():
    names = {path.name for path in FOLDER.iterdir()} - {"__init__.py", "__pycache__"}
    assert {file.name for file in BOARD_FILES} == names
    assert len({file.place for file in BOARD_FILES}) == len(names)
    assert set(ENABLED) <= set(UNITS)
    for name in UNITS:
        text = (FOLDER / name).read_text()
        assert ("[Install]" in text) == (name in ENABLED)
        # Boards have no pages: images leave /usr/share/doc out.
        assert "Documentation=" not in text


def test_programs_of_ours_are_where_the_units_say():
    placed = {file.place for file in BOARD_FILES}
    named = {
        path
        for name in (*UNITS, "60-slfac-power.rules")
        for path in re.findall(r"/usr/lib/slfac/\S+(?<![\"])", (FOLDER / name).read_text())
    }
    assert named == {one for one in placed if one.startswith("/usr/lib/slfac/")}


def test_the_user_and_folders_can_be_made(system):
    (system / "etc").mkdir(exist_ok=True)
    rules = str(system / "usr/lib/sysusers.d/slfac.conf")
    code, said = run("systemd-sysusers", f"--root={system}", "--dry-run", rules)
    assert code == 0, said
    assert "Creating user 'slfac' (slfac agent)" in said
    text = (FOLDER / "slfac-tmpfiles.conf").read_text()
    kinds = dict(re.findall(r"^d (\S+) (.*)$", text, re.MULTILINE))
    assert kinds[places.KEYS] == "0700 slfac slfac -"
    assert kinds[places.CACHE] == kinds[places.JOURNAL] == "0750 slfac slfac -"
    assert kinds[places.DATA] == "0755 root root -"


def test_the_board_and_the_workstation_have_the_same_places():
    assert f"/{firstboot.KEYS}" == places.KEYS
    assert firstboot.DATA == places.DATA
    assert f"slfac/{places.DOCUMENT.rpartition('/')[2]}" == places.DOCUMENT
    assert firstboot.BOOT.endswith("/slfac")
    unit = (FOLDER / "slfac-device.service").read_text()
    assert f"/{firstboot.SLFAC} device --config /etc/slfac/device.toml" in unit
    # What firstboot takes down, the agent must not be able to change.
    assert not growroot.DONE.startswith("var/lib/slfac/")


@pytest.mark.parametrize("name", ["60-slfac-power.rules", "60-slfac-wifi.rules"])
def test_rules_are_such(name):
    lines = (FOLDER / name).read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules
    for line in rules:
        for piece in line.split(", "):
            assert re.fullmatch(r'[A-Z]+(\{\w+\})?(==|\+=|=)"[^"]+"', piece), piece
