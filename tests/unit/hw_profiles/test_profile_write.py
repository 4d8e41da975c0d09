"""What is written reads back equal, whatever the profile."""

import string

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slfac.hw_profiles import (
    Power,
    Profile,
    Value,
    load_profile,
    profile_names,
    unit_of,
    write_profile,
)
from slfac.hw_profiles.schema import Board, Provenance
from slfac.hw_profiles.shape import hint, inner, is_table, is_value, literal_values
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

# What str.isprintable takes.
TEXTS = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=' "\\'), max_size=20
)
NAMES = TEXTS.map("s{}".format)
KEYS = st.text(alphabet=string.ascii_letters + ' ."-_\\ü', max_size=8)
DATES = st.sampled_from(["2026", "2026-04", "2026-04-30"])


def figure(name, shape):
    """Figures of a field, with and without intervals."""
    unit = unit_of(name)
    if unit.whole:
        number = st.integers(1, int(unit.most)).map(float)
    else:
        number = st.floats(1e-9 if unit.positive else 0, min(unit.most, 1000))
    fields = {
        "value": number,
        "kind": st.sampled_from(["measured", "calibrated", "spec"]),
        "source": NAMES,
        "runs": st.none() | st.integers(1, 100),
        "date": DATES,
        "note": TEXTS,
    }
    if shape is Power:
        fields["scope"] = st.just("board")
    plain = st.builds(shape, **fields)
    spread = plain.map(lambda v: msgspec.structs.replace(v, low=v.value, high=v.value))
    return plain | spread


def of(name, shape):
    """What a field of the schema may hold."""
    if is_value(shape):
        return st.none() | figure(name, shape)
    if literal_values(shape):
        return st.sampled_from(literal_values(shape))
    if is_table(shape):
        return table(shape)
    item = inner(shape)
    if item is str:
        return st.lists(TEXTS, max_size=2).map(tuple)
    if item is not None:
        unique = st.lists(table(item), max_size=2, unique_by=lambda each: each.label)
        return unique.map(tuple)
    simple = {str: NAMES, int: st.integers(0, 100), bool: st.booleans()}
    return simple.get(shape, st.dictionaries(KEYS, TEXTS, max_size=2))


def table(shape):
    """Structs of a type."""
    names = {field.encode_name: field.name for field in msgspec.structs.fields(shape)}
    fields = {names[key]: of(key, field.type) for key, field in hint(shape).items()}
    if shape is Profile:
        fields["schema"] = st.just(1)
    if shape is Board:
        fields["name"] = st.just("my-board")
    if shape is Provenance:
        fields |= {"date": DATES, "origin": st.just("published")}
    return st.builds(shape, **fields)


@settings(max_examples=60, deadline=None)
@given(profile=table(Profile))
def test_a_profile_reads_back_equal(profile, tmp_path_factory):
    file = tmp_path_factory.mktemp("profile") / "b.toml"
    write_profile(profile, file)
    assert load_profile(file) == profile


@pytest.mark.parametrize("name", profile_names())
def test_those_that_are_shipped_read_back_equal(name, tmp_path):
    write_profile(load_profile(name), tmp_path / "b.toml")
    assert load_profile(tmp_path / "b.toml") == load_profile(name)
    assert [path.name for path in tmp_path.iterdir()] == ["b.toml"]


def test_a_file_is_replaced_as_a_whole(tmp_path):
    file = tmp_path / "b.toml"
    file.write_text("x" * 100_000)
    write_profile(load_profile("x86"), file)
    assert load_profile(file) == load_profile("x86")
    assert file.stat().st_mode & 0o777 == 0o644


def test_what_could_not_be_read_is_not_written(tmp_path):
    profile = load_profile("x86")
    cores = Value(value=float("nan"), kind="measured", source="s")
    hardware = msgspec.structs.replace(profile.hardware, cores=cores)
    with pytest.raises(SettingsError, match=r"hardware\.cores\.value is no finite number"):
        write_profile(msgspec.structs.replace(profile, hardware=hardware), tmp_path / "b.toml")
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(SettingsError, match="cannot write"):
        write_profile(load_profile("x86"), tmp_path / "none" / "b.toml")
