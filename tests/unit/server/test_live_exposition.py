import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from harness.live import energy_event, event, round_event, run_event, step_event
from slfac.server.live.exposition import RunCollector, metrics_routes
from slfac.server.live.links import Links
from slfac.server.live.picture import Picture

PAGE = Path(__file__).parents[3] / "docs/watching.md"
LINKS = Links(
    bytes_up={"a": 5000, "b": 6000},
    bytes_down={"a": 100, "b": 200},
    connected=frozenset({"b"}),
    refused_keys=3,
    refused={"header": 2, "order": 5},
)


def picture(*events):
    picture = Picture()
    for number, one in enumerate(events):
        picture.take(one, float(number))
    return picture


def exposed(*events, links=LINKS):
    registry = CollectorRegistry()
    registry.register(RunCollector(picture(*events), lambda: links))
    return generate_latest(registry).decode()


def values(text):
    return {
        (sample.name, sample.labels.get("device", sample.labels.get("cause"))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


EVENTS = [
    run_event("a", "b", rounds=7),
    *[step_event("a", step=n, staleness=n) for n in range(4)],
    step_event("b", loss=None),
    energy_event("a"),
    round_event(0, participation=0.75),
]


def test_what_the_events_and_the_sockets_say_is_there():
    found = values(exposed(*EVENTS))
    assert found["slfac_running", None] == 1
    assert (found["slfac_rounds_total", None], found["slfac_rounds_planned", None]) == (1, 7)
    assert (found["slfac_accuracy", None], found["slfac_participation", None]) == (0.5, 0.75)
    assert (found["slfac_round_seconds_sum", None], found["slfac_round_seconds_count", None]) == (
        2,
        1,
    )
    assert found["slfac_steps_total", "a"] == 4
    assert found["slfac_samples_total", "b"] == 16
    assert found["slfac_loss", "a"] == 2.0
    assert ("slfac_loss", "b") not in found
    assert found["slfac_bytes_up_total", "a"] == 5000
    assert found["slfac_float32_bytes_up_total", "a"] == 5000 + 4 * 8000
    assert found["slfac_float32_bytes_down_total", "b"] == 200 + 8500
    assert [found["slfac_device_connected", name] for name in "ab"] == [0, 1]
    assert (
        found["slfac_refused_keys_total", None],
        found["slfac_refused_messages_total", "header"],
        found["slfac_refused_messages_total", "order"],
    ) == (3, 2, 5)
    assert found["slfac_wait_seconds_sum", "a"] == pytest.approx(4 * 3e-3)
    assert found["slfac_step_seconds_sum", "a"] == pytest.approx(4 * 25e-3)
    assert found["slfac_server_train_seconds_sum", "b"] == pytest.approx(2e-3)
    assert (found["slfac_staleness_sum", "a"], found["slfac_staleness_count", "a"]) == (6, 4)
    ended = values(exposed(*EVENTS, event("end", seconds=1.0, stopped_early=False)))
    assert ended["slfac_running", None] == 0


def test_the_page_of_the_docs_lists_exactly_the_metrics():
    text = exposed(*EVENTS)
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    rows = re.findall(r"^\| `(slfac_\w+)` \| (\w+) \| (\S*)", PAGE.read_text(), re.MULTILINE)
    told = {name: "gauge" if kind == "info" else kind for name, kind, _ in rows}
    assert told == types
    with_device = {name for name, _, label in rows if label in {"`device`", "`device`,"}}
    assert with_device == {
        re.sub(r"_(sum|count)$", "", name)
        for name in re.findall(r"^(\w+)\{device=", text, re.MULTILINE)
    }


def test_joules_are_told_where_they_are_known_by_what_they_are_of():
    seen = {"joules": 0.0, "covered_s": 3.0, "missing_s": 0.5}
    unseen = {"joules": 0.0, "covered_s": 0.0, "missing_s": 9.0}
    text = exposed(
        *EVENTS,
        energy_event("a", total={"module": seen, "wall": {**seen, "joules": 7.0}}),
        energy_event("b", total={"soc": unseen}),
    )
    lines = [line for line in text.splitlines() if line.startswith("slfac_joules")]
    assert lines == [
        'slfac_joules_total{device="a",scope="module"} 0.0',
        'slfac_joules_total{device="a",scope="wall"} 7.0',
        'slfac_joules_missing_seconds_total{device="a",scope="module"} 0.5',
        'slfac_joules_missing_seconds_total{device="a",scope="wall"} 0.5',
        'slfac_joules_missing_seconds_total{device="b",scope="soc"} 9.0',
    ]


def test_before_the_first_step_nothing_is_made_up():
    found = values(exposed(run_event("a"), links=Links()))
    assert ("slfac_accuracy", None) not in found
    assert ("slfac_loss", "a") not in found
    assert ("slfac_joules_total", "a") not in found
    assert ("slfac_staleness_sum", "a") not in found
    assert found["slfac_steps_total", "a"] == 0


def test_each_run_has_metrics_of_its_own():
    one, other = (
        metrics_routes(picture(run_event(name)), Links)["/metrics"] for name in ("a", "b")
    )
    first, second = one(None).body.decode(), other(None).body.decode()
    assert 'device="a"' in first
    assert 'device="b"' not in first
    assert 'device="b"' in second
    assert "process_resident_memory_bytes" in first


def test_asking_again_at_once_costs_nothing(monkeypatch):
    monkeypatch.setattr("slfac.server.live.exposition._EVERY_S", 60.0)
    reads = []

    def read():
        reads.append(1)
        return LINKS

    route = metrics_routes(picture(*EVENTS), read)["/metrics"]
    before = len(reads)
    bodies = {route(None).body for _ in range(50)}
    assert len(bodies) == 1
    assert len(reads) - before == 1
