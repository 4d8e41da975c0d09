"""``slfac profile list``, ``show``, ``check`` and ``diff``."""

import io
import json
import re
import sys

import pytest

from slfac.cli import main
from slfac.hw_profiles import load_profile, profile_names
from slfac.hw_profiles.write import profile_toml

pytestmark = pytest.mark.device


@pytest.fixture
def run(capsys):
    """Runs ``slfac profile``: exit code, lines, and what went to standard error."""

    def profile(*arguments):
        code = main(["profile", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return profile


@pytest.fixture
def mine(tmp_path):
    """A profile of one's own, which differs from that of a Pi 4."""
    text = profile_toml(load_profile("pi-4b"))
    changed = text.replace("value = 2.2,", "value = 3.0, low = 2.9, high = 3.1,")
    assert changed != text
    (tmp_path / "mine.toml").write_text(changed)
    return tmp_path / "mine.toml"


def test_every_board_is_listed_with_how_much_is_known(run):
    code, lines, _ = run("list")
    assert code == 0
    assert [line.split()[0] for line in lines[1:]] == list(profile_names())
    assert run("list", "--json")[0] == 0


def test_figures_are_shown_with_kind_and_source_and_what_is_unknown(run):
    code, lines, _ = run("show", "pi-zero-2w")
    assert code == 0
    (idle,) = (line for line in lines if line.startswith("mode.default.idle_w"))
    for part in ("0.6 W (board)", "unknown", "measured", "CNX Software", "2021-12"):
        assert part in idle
    assert lines[-1].startswith("unknown: hardware.gpu_clock_mhz, ")
    assert "mode.default.active_w" in lines[-1]


def test_an_interval_is_shown(run, mine):
    (line,) = (line for line in run("show", mine)[1] if "idle_w" in line)
    assert re.search(r" 3 W \(board\) +2\.9 to 3\.1 +measured ", line)


def test_json_is_the_profile(run):
    code, lines, _ = run("show", "orin-nx", "--json")
    shown = json.loads("\n".join(lines))
    assert code == 0
    assert shown["mode"][0]["idle_w"]["value"] == 4.6
    assert "idle_w" not in shown["mode"][1]


def test_files_in_order(run, mine):
    assert run("check", mine) == (0, [f"{mine}: in order"], "")


def test_all_faults_of_all_files_are_listed(run, mine, tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text(mine.read_text().replace("idle_w", "idle_mw").replace('"measured"', '"guess"'))
    code, lines, error = run("check", bad, mine, tmp_path / "none.toml")
    assert code == 2
    assert len([line for line in lines if line.startswith(f"{bad}: ")]) >= 5
    assert f"{mine}: in order" in lines
    assert "2 of 3 profiles cannot be used" in error


def test_what_differs_is_listed(run, mine):
    code, lines, _ = run("diff", "pi-4b", mine)
    (_, line) = lines
    assert code == 0
    assert "2.2 W (board)" in line
    assert "3 W (board) [2.9 to 3.1]" in line
    assert "x 1.36" in line
    assert run("diff", mine, mine)[1] == ["no figure differs"]


def test_intervals_are_apart_or_overlap(run, mine, tmp_path):
    other = tmp_path / "other.toml"
    text = mine.read_text()
    for high, says in (("3.05", "overlap"), ("2.85", "apart")):
        spread = f"value = 2.8, low = 2.7, high = {high},"
        other.write_text(text.replace("value = 3.0, low = 2.9, high = 3.1,", spread))
        assert f"intervals {says}" in run("diff", other, mine)[1][-1]


def test_a_name_that_there_is_not(run):
    code, lines, error = run("show", "pi4")
    assert (code, lines) == (2, [])
    assert "pi-4b" in error


def test_bytes_that_the_terminal_has_not(mine, monkeypatch):
    mine.write_text(mine.read_text().replace('title = "', 'title = "µ '), "utf-8")
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["profile", "show", str(mine)]) == 0
    screen.flush()
    assert b"\\xb5" in screen.buffer.getvalue()
