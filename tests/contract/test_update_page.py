"""docs/update.md says what there is: packages, units, messages."""

import json
import re
from pathlib import Path

import pytest

from harness.deb_page import RESULTS, put_state, state
from slfac.device.image.deb.package import package_tree
from slfac.device.image.layer.tree import Tree
from slfac.device.image.layer.wheels import ABIS
from slfac.device.image.update import versions

pytestmark = pytest.mark.device

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "update.md").read_text("utf-8")


def test_every_package_stands_beside_its_python():
    rows = re.findall(r"^\| [^|]+ \| ([\d., ]+) \| ([^|]+) \|", PAGE, re.MULTILINE)
    told = {}
    for pythons, packages in rows:
        told |= dict(
            zip(re.findall(r"cp\d+", packages), re.findall(r"3\.\d+", pythons), strict=True)
        )
    assert told == {abi: python for abi, (python, _) in ABIS.items()}


def test_the_state_is_that_of_the_result_file():
    result = {
        "date": "2026-01-01",
        "machine": {"cores": "2", "processor": "AMD EPYC"},
        "not_tried": ["any real board"],
        "systems": [],
    }
    if RESULTS.exists():
        result = json.loads(RESULTS.read_text())
        assert put_state(PAGE, result) == PAGE
    steps = [{"step": "install", "passed": True}, {"step": "two-are-kept", "passed": False}]
    told = {"name": "trixie", "system": "Debian GNU/Linux 13", "where": "booted in QEMU"}
    told |= {"steps": steps, "passed": False, "training_steps": 5, "seconds": 9}
    text = state({**result, "systems": [told]})
    assert "tested in QEMU: failed: two are kept; 2 steps, 5 of training, 9 s |" in text
    assert re.search(r"^\| Debian 12 .* untested \|$", text, re.MULTILINE)
    assert "- Debian GNU/Linux 13, booted in QEMU: install, two are kept." in text


def test_units_that_are_told_are_in_the_package_or_left_out():
    paths = package_tree("cp313", Tree()).entries
    for unit, told in re.findall(r"^\| `(slfac-\w+\.service)` \| (\w+)", PAGE, re.MULTILINE):
        inside = f"usr/lib/systemd/system/{unit}" in paths
        assert inside == (told == "enabled"), unit


def test_links_are_called_as_they_are():
    assert versions.KEPT == ("current", "previous")
    for name in (f"/opt/slfac/{versions.KEPT[0]}", f"`{versions.KEPT[1]}`", "/opt/slfac/versions"):
        assert name in PAGE


def test_messages_are_those_that_are_said():
    sources = [*(ROOT / "device/image/update").glob("*.py"), ROOT / "cli/update.py"]
    said = " ".join(re.sub(r'"\s+f?"', "", path.read_text("utf-8")) for path in sources)
    table = PAGE.partition("\n## Messages\n")[2]
    rows = re.findall(r"^\| `+ ?(.*?) ?`+(?:, `(.*?)`, `(.*?)`)? (?:\(|\|)", table, re.MULTILINE)
    messages = [text for row in rows for text in row if text]
    assert len(messages) > 8
    for message in messages:
        pieces = re.split(
            r"\.\.\.|\d\.\d+|'amd64'|inference: |device key: |/opt/slfac/versions", message
        )
        for piece in filter(None, (piece.strip(" ;,:") for piece in pieces)):
            assert piece in said, piece
