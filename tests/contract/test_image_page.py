"""docs/image.md says what there is: every option, stage, field and file."""

import argparse
import json
import re
from pathlib import Path

import pytest

from slfac.cli.image_personal import add_personal
from slfac.device.image.board import firstboot
from slfac.device.image.settings import Document, KeyTexts, Wifi
from slfac.device.image.settings.places import CACHE, DATA, JOURNAL, KEYS

pytestmark = pytest.mark.device

PAGE = (Path(__file__).parents[2] / "docs" / "image.md").read_text("utf-8")


def section(title):
    return re.split(r"^## ", PAGE.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[
        0
    ]


def test_every_option_that_personalises_is_told():
    parser = argparse.ArgumentParser(add_help=False)
    add_personal(parser)
    options = {name for name in parser._option_string_actions if name.startswith("--")}
    told = section("Personalise")
    assert len(options) > 15
    for option in options:
        assert f"`{option}" in told or f" {option} " in told, option
    rows = re.findall(r"^\| (`--.*?) \| ", told, re.MULTILINE)
    named = set(re.findall(r"`(--[a-z-]+)", " ".join(rows)))
    assert named - {"--show"} <= options


def test_every_stage_of_the_first_boot_is_told():
    assert re.findall(r"^\| (\w+) \| ", section("First boot"), re.MULTILINE) == [
        "Stage",
        *firstboot.STAGES,
    ]


def test_the_file_has_every_field():
    (text,) = re.findall(r"```json\n(.*?)```", section("The file"), re.DOTALL)
    shown = json.loads(text)
    assert set(shown) == set(Document.__struct_fields__)
    assert set(shown["wifi"]) == set(Wifi.__struct_fields__)
    assert set(shown["keys"]) == set(KeyTexts.__struct_fields__)
    assert {shown["config"][name] for name in ("keys", "data", "cache", "journal")} == {
        *(KEYS, DATA, CACHE, JOURNAL),
    }


def test_the_hint_is_the_one_that_a_board_gives(tmp_path, capsys):
    from harness.fake_board import FakeBoard

    (shown,) = re.findall(r"```text\n(.*?)```", section("Enroll"), re.DOTALL)
    key = re.search(r"is (.{40})$", shown, re.MULTILINE)[1]
    board = FakeBoard(tmp_path / "root")
    board.put("etc/hostname", "pi-1\n")
    board.put("etc/slfac/keys/device.key", f'    public-key = "{key}"\n')
    assert board.start() == []
    assert capsys.readouterr().out == shown


def test_the_figures_are_those_of_the_result_file():
    from harness.image_page import NAMES, RESULTS, figures, page, put_figures
    from harness.image_trial import STEPS, check

    result = json.loads(RESULTS.read_text())
    assert set(result["steps"]) <= set(STEPS) == NAMES
    assert {"build", "build-locked", "virt"} <= set(result["steps"])
    assert check(result["steps"]) == []
    assert figures(result).strip() == section("Figures").strip()
    assert put_figures(PAGE, result) == PAGE
    assert RESULTS.with_suffix(".md").read_text() == page(result)


def test_the_picture_of_flashing_fetches_nothing():
    picture = Path(__file__).parents[2] / "docs" / "flash.svg"
    text = picture.read_text("utf-8")
    assert "](flash.svg)" in section("Flash")
    assert "image" in text
    assert "flash" in text
    assert re.findall(r"(?:href|src|url)\W+(https?:[^\s\"')]+)", text) == []
