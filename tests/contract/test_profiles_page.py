"""docs/profiles.md says what the schema and the profiles say, and profiles what drivers say."""

import re

import pytest

from harness.boards import BOARDS
from harness.profile_page import PAGE, with_tables
from slfac.device.energy import find_sensors, sensor_settings
from slfac.device.energy.base import SCOPES
from slfac.device.energy.phases import PHASES
from slfac.hw_profiles import check_profile, load_profile, profile_entries, profile_names
from slfac.hw_profiles.schema import PhaseCost
from slfac.hw_profiles.shape import hint, literal_values
from slfac.hw_profiles.values import Power

pytestmark = pytest.mark.device

# The tree of files that stands for a board.
TREES = {
    "jetson-nano": "nano",
    "xavier-nx": "xavier_nx",
    "orin-nano": "orin_nano",
    "orin-nx": "orin_nx",
    "agx-orin": "agx_orin",
    "thor": "thor",
    "pi-5": "pi5",
    "x86": "server",
}


def test_the_page_holds_the_schema_and_the_profiles():
    page = PAGE.read_text("utf-8")
    assert with_tables(page) == page


def test_the_example_on_the_page_is_in_order(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "b.toml").write_text(example)
    assert check_profile(tmp_path / "b.toml") == []
    (tmp_path / "b.toml").write_text(example.replace("idle_w =", "idle_mw ="))
    (fault,) = check_profile(tmp_path / "b.toml")
    assert f"board.toml: {fault}\n" in PAGE.read_text("utf-8")


def test_the_python_on_the_page_runs():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    exec(compile(code, "profiles.md", "exec"), {})  # noqa: S102 - our own page


@pytest.mark.parametrize("name", profile_names())
def test_every_figure_has_a_kind_and_a_source(name):
    known = [entry for entry in profile_entries(load_profile(name)) if entry.value is not None]
    assert known
    for entry in known:
        assert entry.value.kind in {"measured", "calibrated", "spec"}, entry.field
        assert len(entry.value.source) > 5, entry.field


def test_words_are_those_of_the_sensors_and_of_the_phase_meter():
    assert literal_values(hint(Power)["scope"].type) == (*SCOPES, "unknown")
    assert literal_values(hint(PhaseCost)["name"].type) == PHASES


def test_boards_without_a_tree_have_no_sensor():
    without = {name for name in profile_names() if not load_profile(name).sensors}
    assert set(profile_names()) - without == set(TREES)


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_sensor_is_as_its_driver_has_it(name, tmp_path):
    board = BOARDS[TREES[name]](tmp_path)
    profile = load_profile(name)
    (sensor,) = profile.sensors
    found = {
        s.info.kind: s.info for s in reversed(find_sensors(board.host, sensor_settings()).sensors)
    }
    info = found[sensor.driver]
    assert sensor.scope == info.scope
    assert set(sensor.total) == set(info.total) or not sensor.total
    assert sensor.max_hz.value == pytest.approx(info.max_hz, rel=0.05)
    if sensor.step_w is not None:
        assert sensor.step_w.value == pytest.approx(info.lsb_w, rel=0.05)
    models = list(tmp_path.rglob("device-tree/model"))
    assert all(profile.board.model_match in model.read_text() for model in models)
