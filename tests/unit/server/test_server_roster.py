import pytest

from slfac.server.roster import make_roster
from slfac.wire.errors import KeyFileError, SettingsError


def test_every_enrolled_device_unless_some_are_named():
    assert make_roster((), ["a", "b"]).names == ("a", "b")
    assert make_roster(("b", "a"), ["a", "b", "c"]).names == ("b", "a")
    assert make_roster(("x",), None).names == ("x",)


def test_indices_follow_the_names():
    roster = make_roster(("b", "a"), None)
    assert len(roster) == 2
    assert [roster.index(name) for name in ("b", "a")] == [0, 1]


@pytest.mark.parametrize("enrolled", [[], None])
def test_nobody_enrolled_is_an_error_with_the_command_that_helps(enrolled):
    with pytest.raises(KeyFileError, match="slfac keys enroll"):
        make_roster((), enrolled)


def test_a_name_that_is_not_enrolled_is_said():
    with pytest.raises(SettingsError, match=r"setting devices names 'x'.*slfac keys enroll x"):
        make_roster(("a", "x"), ["a"])


def test_a_name_given_twice_is_said():
    with pytest.raises(SettingsError, match="names a device twice: a, b, a"):
        make_roster(("a", "b", "a"), None)
