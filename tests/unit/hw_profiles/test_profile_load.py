"""Profiles are found by name or path, and files that are none end in one error."""

import pytest

from slfac.hw_profiles import check_profile, load_profile, profile_names
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

TEXT = """\
schema = 1
board = { name = "b", title = "B" }
provenance = { origin = "published", date = "2026" }
hardware = { cores = {}, memory_mib = { value = 512, kind = "spec", source = "s" } }
"""


def test_the_boards_that_were_asked_for_are_there():
    pis = {"pi-zero-2w", "pi-3b-plus", "pi-4b", "pi-5"}
    jetsons = {"jetson-nano", "xavier-nx", "orin-nano", "orin-nx", "agx-orin", "thor"}
    assert set(profile_names()) == pis | jetsons | {"x86"}


def test_a_file_is_read_and_an_empty_figure_is_unknown(tmp_path, monkeypatch):
    (tmp_path / "b.toml").write_text(TEXT)
    profile = load_profile(tmp_path / "b.toml")
    assert profile.hardware.cores is None
    assert profile.hardware.memory_mib.value == 512
    monkeypatch.chdir(tmp_path)
    assert load_profile("b.toml") == load_profile("./b.toml") == profile


def test_a_name_goes_before_a_file_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x86").write_text("no TOML")
    assert load_profile("x86").board.name == "x86"


def test_a_name_that_there_is_not():
    with pytest.raises(SettingsError, match="no profile 'pi4'") as error:
        load_profile("pi4")
    assert "pi-4b" in error.value.remedy


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"schema =",
        b"schema = 1\nschema = 2",
        b"a = " + b"[" * 20_000,
        b"a = " + b"{a=" * 20_000,
        b"a = 1" + b"0" * 5000,
        b"#" * (256 * 1024 + 1),
        b"\0",
        b"[" + b"a." * 130_000 + b"a]",  # would take some 60 GB
    ],
)
def test_what_is_no_toml(data, tmp_path):
    file = tmp_path / "b.toml"
    file.write_bytes(data)
    for read in (load_profile, check_profile):
        with pytest.raises(SettingsError, match=r"b\.toml"):
            read(file)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"schema = 1979-05-27",
        b"a." * 100 + b"a = 1",
        TEXT.encode().replace(b"512", b"nan"),
        TEXT.encode().replace(b"512", b"1e400"),
        TEXT.encode().replace(b"512", b"9" * 400),
        TEXT.encode().replace(b'"s"', b"07:32:00"),
    ],
)
def test_toml_that_is_no_profile(data, tmp_path):
    file = tmp_path / "b.toml"
    file.write_bytes(data)
    faults = check_profile(file)
    assert faults
    with pytest.raises(SettingsError) as error:
        load_profile(file)
    assert faults[0].field in error.value.what
    assert error.value.remedy == faults[0].remedy


def test_what_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "none.toml", "a\0b.toml"):
        with pytest.raises(SettingsError, match="cannot read"):
            load_profile(path)
