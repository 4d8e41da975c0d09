"""docs/energy.md names every sensor, rail, chip and option that there is."""

import re
from pathlib import Path

import pytest

from harness.boards import BOARDS
from slfac.cli.main import _parser
from slfac.device.energy import SensorSettings, find_sensors, sensor_settings
from slfac.device.energy.base import SCOPES

pytestmark = pytest.mark.device

PAGE = (Path(__file__).parents[2] / "docs" / "energy.md").read_text("utf-8")
OPTIONS = {f"--{name.replace('_', '-')}" for name in SensorSettings.__struct_fields__}


def section(name):
    """The rows of the table below a heading."""
    text = PAGE.split(f"\n### {name}\n")[1].split("\n### ")[0]
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def test_every_scope_is_explained():
    assert [re.match(r"\| `(\w+)`", row)[1] for row in section("Scopes")] == list(SCOPES)


def test_every_setting_is_an_option_and_described():
    listed = re.findall(
        r"`(--[\w-]+)`", "".join(row.split(" | ")[0] for row in section("All options"))
    )
    assert sorted(listed) == sorted(OPTIONS)
    command = ["profile", "sensors", "--total", "A", "--all-rails", "--i2c-address", "0x41"]
    args = _parser().parse_args(command)
    assert (args.total, args.all_rails, args.i2c_address) == (("A",), True, 0x41)


def test_no_option_is_named_that_there_is_not():
    named = set(re.findall(r"--[a-z][\w-]+", PAGE))
    run = {"--server", "--keys", "--data", "--energy", "--energy-report", "--resume"}
    assert named <= OPTIONS | run | {"--root", "--json", "--measure-s"}


@pytest.mark.parametrize("name", sorted(set(BOARDS) - {"pi4"}))
def test_every_board_is_there_with_its_rails_total_rate_and_scope(name, tmp_path):
    board = BOARDS[name](tmp_path)
    sensors = find_sensors(board.host, sensor_settings()).sensors
    every = find_sensors(board.host, sensor_settings(all_rails=True)).sensors
    for sensor, with_all in zip(sensors, every, strict=True):
        info = sensor.info
        rows = [row for row in section("Boards") if f"`{info.name}`" in row]
        assert any(is_of(row, info, with_all.info.rails) for row in rows), info


def is_of(row, info, rails):
    """Whether a row of the table holds the sensor's total, rails, scope and rate."""
    _, _, _, told, scope, rate, _ = (cell.strip() for cell in row.split("|"))
    bold = re.search(r"\*\*(.*?)\*\*", told)[1]
    fits = bold == " + ".join(info.total) and all(rail in told for rail in rails)
    number = re.search(r"\d+", rate)
    # Rounded to one or two digits.
    is_fast = number is None or info.max_hz == pytest.approx(int(number[0]), rel=0.05)
    return (fits or bold in {"every package", "all twelve"}) and is_fast and scope == info.scope
