"""What is wrong with a profile is found, all of it, and named with what to do about it."""

import copy

import pytest

from slfac.hw_profiles import Profile, load_profile, profile_faults, profile_names, unit_of
from slfac.hw_profiles.shape import hint, inner, is_table, is_value

pytestmark = pytest.mark.device

GOOD = {
    "schema": 1,
    "board": {"name": "b", "title": "B"},
    "provenance": {"origin": "published", "date": "2026-11-22"},
    "hardware": {"cores": {"value": 4, "kind": "spec", "source": "s"}},
    "mode": [
        {
            "name": "default",
            "idle_w": {"value": 2.7, "kind": "measured", "source": "s", "scope": "board"},
            "compute": [
                {
                    "device": "cpu",
                    "dtype": "fp32",
                    "workload": "gemm",
                    "gflops": {"value": 9, "kind": "measured", "source": "s"},
                }
            ],
        }
    ],
    "link": [{"name": "wifi", "send_w": {}}],
    "sensor": [{"driver": "pi5", "scope": "module", "total": ["A", "B"]}],
}
IDLE = ("mode", 0, "idle_w")
FLOPS = ("mode", 0, "compute", 0, "gflops")


def changed(path, value):
    """The good document with one thing in another way; None takes it out."""
    document = copy.deepcopy(GOOD)
    table = document
    for step in path[:-1]:
        table = table[step]
    if value is None:
        del table[path[-1]]
    else:
        table[path[-1]] = value
    return document


def test_a_good_one_has_no_faults():
    assert profile_faults(GOOD) == []


@pytest.mark.parametrize(
    ("path", "value", "field", "says"),
    [
        # missing
        (("schema",), None, "schema", "is missing"),
        ((*IDLE, "source"), None, "mode[0].idle_w.source", "so that a reader can find it"),
        ((*IDLE, "source"), " ", "mode[0].idle_w.source", "is empty"),
        ((*IDLE, "kind"), None, "mode[0].idle_w.kind", "is missing"),
        ((*IDLE, "scope"), None, "mode[0].idle_w.scope", "soc, module, board, wall, or unknown"),
        ((*IDLE, "value"), None, "mode[0].idle_w.value", "is missing"),
        # unknown keys and units
        (("extra",), 1, "extra", "is unknown"),
        (("mode", 0, "idle_mw"), 2700, "mode[0].idle_mw", "in its unit it is called idle_w"),
        ((*IDLE, "unit"), "mW", "mode[0].idle_w.unit", "suffix of the field"),
        ((*IDLE, "value"), "2.7 W", "mode[0].idle_w.value", "the suffix of the field is its unit"),
        ((*IDLE, "value"), 2700, "mode[0].idle_w.value", "is it in another unit?"),
        (IDLE, 2.7, "mode[0].idle_w", "without a source"),
        ((*FLOPS, "scope"), "board", "mode[0].compute[0].gflops.scope", "is unknown"),
        # values
        ((*IDLE, "kind"), "guessed", "mode[0].idle_w.kind", "measured, calibrated, spec"),
        ((*IDLE, "scope"), "rail", "mode[0].idle_w.scope", "'rail'"),
        ((*IDLE, "value"), -1, "mode[0].idle_w.value", "cannot be below zero"),
        ((*FLOPS, "value"), 0, "mode[0].compute[0].gflops.value", "leave it out"),
        ((*FLOPS, "value"), float("nan"), "mode[0].compute[0].gflops.value", "no finite number"),
        ((*FLOPS, "value"), float("-inf"), "mode[0].compute[0].gflops.value", "no finite number"),
        ((*FLOPS, "value"), 10**400, "mode[0].compute[0].gflops.value", "a huge number"),
        ((*FLOPS, "value"), True, "mode[0].compute[0].gflops.value", "give a number"),
        (("hardware", "cores", "value"), 2.5, "hardware.cores.value", "whole number"),
        ((*IDLE, "low"), 2, "mode[0].idle_w", "low and high, or neither"),
        ((*IDLE, "runs"), 0, "mode[0].idle_w.runs", "is 0"),
        ((*IDLE, "date"), "yesterday", "mode[0].idle_w.date", "2026-04-30"),
        ((*IDLE, "note"), "x" * 1001, "mode[0].idle_w.note", "1001 characters"),
        ((*IDLE, "note"), "\x1b[2J", "mode[0].idle_w.note", "control characters"),
        (("board", "name"), "Pi 4/../b", "board.name", "use a-z"),
        (("schema",), 2, "schema", "this slfac reads 1"),
        # shapes
        (("board",), [], "board", "not a table"),
        (("mode",), {}, "mode", "of the wrong type"),
        (("mode",), [1], "mode[0]", "not a table"),
        (("mode",), [{"name": "a"}] * 1001, "mode", "at most 1000"),
        (("sensor", 0, "total"), "A", "sensor[0].total", "of the wrong type"),
        (("sensor", 0, "total"), [1], "sensor[0].total[0]", "text in quotes"),
        (("sensor", 0, "total"), {"A": "B"}, "sensor[0].total", "of the wrong type"),
        (("provenance", "machine"), {"os": 1}, "provenance.machine.os", "text in quotes"),
        (("provenance", "machine"), ["a"], "provenance.machine", "of the wrong type"),
        (("provenance", "throttled"), 1, "provenance.throttled", "true or false"),
        (("provenance", "runs"), -1, "provenance.runs", "whole number"),
        # the whole
        (("mode",), [{"name": "a"}] * 2, "mode", "2 entries for 'a'"),
        (("provenance", "origin"), "measured", "provenance.command", "how it was made"),
        (("provenance", "date"), "", "provenance.date", "is empty"),
    ],
)
def test_a_fault_is_named(path, value, field, says):
    faults = profile_faults(changed(path, value))
    assert field in {fault.field for fault in faults}
    assert says in " ".join(map(str, faults))
    assert all("\n" not in str(fault) and len(str(fault)) < 400 for fault in faults)


def test_a_value_outside_of_its_interval():
    (fault,) = profile_faults(changed(IDLE, {**GOOD["mode"][0]["idle_w"], "low": 3, "high": 4}))
    assert "outside of its interval, 3 to 4" in fault.what


def test_an_interval_may_begin_below_zero():
    assert profile_faults(changed(IDLE, {**GOOD["mode"][0]["idle_w"], "low": -1, "high": 4})) == []


def test_all_faults_are_listed():
    document = changed((*IDLE, "source"), None)
    document["mode"][0]["compute"][0]["gflops"]["value"] = -1
    document["extra"] = 1
    assert len(profile_faults(document)) == 3


def test_faults_are_bounded():
    assert len(profile_faults({f"k{i}": 1 for i in range(5000)})) == 100


def test_scopes_are_not_mixed():
    wall = {"value": 3, "kind": "measured", "source": "s", "scope": "wall"}
    for path in (("mode", 0, "active_w"), ("link", 0, "send_w")):
        (fault,) = profile_faults(changed(path, wall))
        assert "mixes scopes: board (mode.default.idle_w), wall" in str(fault)
    assert profile_faults(changed(("mode", 0, "active_w"), {**wall, "scope": "board"})) == []
    assert profile_faults(changed(("mode", 0, "draw"), [{"load": "l", "power_w": wall}])) == []


def test_a_measured_profile_says_how_it_was_made():
    made = {"origin": "measured", "date": "2026-11-22", "command": "c", "runs": 5}
    made |= {"machine": {"processor": "p"}, "versions": {"slfac": "0.1.0"}}
    assert profile_faults(changed(("provenance",), made)) == []
    for name in ("command", "runs", "machine", "versions"):
        less = {key: value for key, value in made.items() if key != name}
        (fault,) = profile_faults(changed(("provenance",), less))
        assert fault.field == f"provenance.{name}"


def test_deep_nesting_is_a_fault_and_no_crash():
    deep = {}
    for _ in range(20_000):
        deep = {"a": deep}
    for path in (("extra",), ("board", "title"), (*IDLE, "value"), ("provenance", "machine")):
        assert profile_faults(changed(path, deep))


@pytest.mark.parametrize("document", [None, [], 1, "x", {}])
def test_what_is_no_profile_at_all(document):
    assert profile_faults(document)


def figures(table):
    for key, field in hint(table).items():
        if is_value(field.type):
            yield key
        for deeper in (field.type, inner(field.type)):
            if is_table(deeper) and not is_value(deeper):
                yield from figures(deeper)


def test_every_figure_of_the_schema_has_a_unit():
    names = set(figures(Profile))
    assert len(names) > 30
    for name in names:
        unit = unit_of(name)
        # Of those without a unit, all are counts or ratios.
        assert unit.name or name in {"cores", "gain", "spread", "unseen_spread"}
    assert unit_of("sensor.pi5.offset_w").signed
    assert not unit_of("mode.default.idle_w").signed


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_that_is_shipped_is_in_order(name):
    profile = load_profile(name)
    assert profile.board.name == name
    assert profile.provenance.origin == "published"
