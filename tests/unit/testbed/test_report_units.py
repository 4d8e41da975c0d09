import pytest

from slfac.testbed.report.units import (
    human_bytes,
    human_joules,
    human_ratio,
    human_seconds,
    percent,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_499, "999 kB"),
        (999_950, "1.00 MB"),
        (1_234_567, "1.23 MB"),
        (99_960_000, "100 MB"),
        (5e9, "5.00 GB"),
        (1e15, "1000000 GB"),
    ],
)
def test_bytes(count, text):
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.50 s"), (83.21, "83.2 s"), (754, "12 min 34 s"), (7260, "2 h 1 min")],
)
def test_seconds(seconds, text):
    assert human_seconds(seconds) == text


def test_ratio_and_percent():
    assert human_ratio(10, 123) == "12.3x"
    assert human_ratio(0, 123) == "-"
    assert percent(0.93149) == "93.1 %"


def test_joules_stay_apart_by_scope_and_unknown_ones_are_none():
    assert human_joules({}) == "unknown"
    assert human_joules({"module": 0.0}) == "0 J module"
    assert human_joules({"module": 812.4, "wall": 1234.5}) == "812 J module, 1.234 kJ wall"
