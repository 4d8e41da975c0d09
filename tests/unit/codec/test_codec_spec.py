"""Spec strings: what parses, what is refused, and how the refusal reads."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.codec.spec import MAX_SPEC_CHARS, Fields, format_spec, parse_spec
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
VALUES = st.text(string.ascii_letters + string.digits + "_.+/-", min_size=1, max_size=8)


def test_a_name_alone_has_no_fields():
    assert parse_spec("none") == ("none", {})


def test_fields_keep_their_order():
    name, values = parse_spec("sgd:momentum=0.9,lr=5e-2")
    assert name == "sgd"
    assert list(values.items()) == [("momentum", "0.9"), ("lr", "5e-2")]


@given(
    name=st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True),
    values=st.dictionaries(KEYS, VALUES, max_size=6),
)
def test_what_is_formatted_parses_back(name, values):
    assert parse_spec(format_spec(name, values)) == (name, values)


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused_as_a_setting(text):
    try:
        name, values = parse_spec(text)
    except SettingsError:
        return
    assert format_spec(name, values) == text


@pytest.mark.parametrize(
    "spec",
    [
        "",
        ":",
        "slfac:",
        "Slfac",
        "slfac :theta=1",
        "slfac:theta",
        "slfac:theta=",
        "slfac:=1",
        "slfac:theta=1,",
        "slfac:theta= 1",
        "slfac:theta=1;bmin=2",
        "slfac:theta=1,theta=1",
        "slfac:th\u00e9ta=1",
        "slfac\n",
        "a" * (MAX_SPEC_CHARS + 1),
    ],
)
def test_malformed_specs_are_refused(spec):
    with pytest.raises(SettingsError):
        parse_spec(spec)


def test_fields_are_read_by_type():
    fields = Fields(*parse_spec("x:a=1e-3,b=7,c=red"))
    assert fields.number("a", 1.0, low=0, high=1) == 1e-3
    assert fields.integer("b", 1, low=0, high=9) == 7
    assert fields.word("c", "blue", choices=("blue", "red")) == "red"
    assert fields.number("d", 0.5, low=0, high=1) == 0.5
    assert fields.integer("e", 3, low=0, high=9) == 3
    assert fields.word("f", "blue", choices=("blue", "red")) == "blue"
    fields.finish()


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "1.1", "0.0_5", "0x1", "red"])
def test_numbers_out_of_bounds_name_field_value_and_bounds(text):
    with pytest.raises(SettingsError) as caught:
        Fields("x", {"lr": text}).number("lr", 0.1, low=0, high=1, above_low=True)
    assert caught.value.what == f"x: field lr is {text}"
    assert caught.value.remedy == "give a number above 0 up to 1"


@pytest.mark.parametrize("text", ["1.0", "1e1", "-1", "10", "0_7", "red"])
def test_whole_numbers_out_of_bounds_are_refused(text):
    with pytest.raises(SettingsError, match=r"field b is .*whole number from 0 up to 9"):
        Fields("x", {"b": text}).integer("b", 1, low=0, high=9)


def test_a_word_that_is_no_choice_is_refused_with_the_choices():
    with pytest.raises(SettingsError, match="give one of blue, red"):
        Fields("x", {"c": "green"}).word("c", "blue", choices=("blue", "red"))


def test_unknown_fields_are_refused_with_the_known_ones():
    fields = Fields("sgd", {"rl": "1"})
    fields.number("lr", 0.1, low=0, high=1)
    fields.number("momentum", 0.9, low=0, high=1)
    with pytest.raises(SettingsError, match="sgd has no field rl; known fields: lr, momentum"):
        fields.finish()
