"""Runs of an experiment: carried out in order, kept, found again, and never by two at once."""

import io
import json
import re

import pytest
from rich.console import Console

from harness.metrics_lines import whole_run
from slfac.testbed.experiment.backend import ResolvedRun
from slfac.testbed.experiment.carry_out import carry_out, find_all
from slfac.testbed.experiment.execute import Running, execute
from slfac.testbed.experiment.job import Job
from slfac.testbed.experiment.lock import held
from slfac.testbed.experiment.settings import RunSettings
from slfac.wire.errors import RunError

COUNTED = {"smashed_bytes": 11, "gradient_bytes": 22, "smashed_values": 33, "gradient_values": 44}


def events_of(seed):
    """Those of a run whose every count is another."""
    events = [json.loads(line) for line in whole_run(seed=seed).lines]
    for event in events:
        if event["event"] == "device":
            event.update(COUNTED)
    return events


class Scripted:
    """A backend whose runs say what they are told to, event by event.

    Attributes:
        log: What has happened, in order.
    """

    name = "scripted"

    def __init__(self, failing=()):
        self.log = []
        self._failing = failing

    def check(self, settings):
        del settings

    def place(self, settings):
        del settings
        return {}

    def steps(self, run, on_event):
        seed, events = run.settings.seed, events_of(run.settings.seed)
        self.log.append(("begins", seed))
        try:
            for event in events:
                yield
                if seed in self._failing:
                    raise RunError(f"run {seed} is to fail")
                on_event(event)
        finally:
            self.log.append(("ends", seed))
        return events


def job(folder, seed):
    settings = RunSettings(model="cnn", cut="pool1", data="x", codec="slfac@fp16", seed=seed)
    run = ResolvedRun(
        settings=settings,
        bundle=folder / "bundle",
        data=folder / "data",
        device_data=(),
        out=folder / "runs" / str(seed),
        threads=1,
    )
    return Job(run, {"seed": seed}, f"run {seed}", {"dataset": "digits"})


@pytest.fixture
def jobs(tmp_path):
    return [job(tmp_path, seed) for seed in range(4)]


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_runs_go_on_side_by_side_and_a_finished_one_is_not_made_again(jobs, console):
    backend = Scripted()
    first = carry_out(jobs[:3], backend, at_a_time=2, console=console)
    assert backend.log[:2] == [("begins", 0), ("begins", 1)]
    assert ("ends", 0) in backend.log[: backend.log.index(("begins", 2))]
    assert [(one.label, found.seed) for one, found in first.runs] == [
        (f"run {seed}", seed) for seed in range(3)
    ]
    # As listed, whatever was there before: the first of these is the only one to be made.
    backend = Scripted()
    order = [jobs[3], *jobs[:3]]
    again = carry_out(order, backend, at_a_time=1, console=console)
    assert backend.log == [("begins", 3), ("ends", 3)]
    assert [(one.label, found.seed) for one, found in again.runs] == [
        (f"run {seed}", seed) for seed in (3, 0, 1, 2)
    ]
    assert [found for _, found in again.runs[1:]] == [found for _, found in first.runs]
    assert "3 of 4 runs are there already" in console.file.getvalue()


def test_a_record_has_each_figure_of_the_metrics_in_its_place(jobs, console):
    finished = carry_out(jobs[:1], Scripted(), at_a_time=1, console=console)
    ((_, found),) = finished.runs
    assert (found.codec, found.codec_down, found.accuracy) == ("slfac@fp16", "fp16", 0.7)
    assert (found.bytes_up, found.bytes_down, found.total_bytes) == (3000, 2800, 5800)
    assert (found.float32_bytes_up, found.wire_bytes_up) == (18000, 5_000_000)
    assert found.wire_bytes_down == 10_000_000
    assert (found.payload_bytes_up, found.payload_bytes_down) == (22, 44)
    assert (found.smashed_values, found.gradient_values) == (66, 88)
    assert (found.seconds, found.train_samples, found.test_samples) == (30.0, 100, 100)
    assert [point.round for point in found.by_round] == [1, 2, 3]


def test_a_run_that_fails_is_told_and_the_others_go_on(jobs, console):
    finished = carry_out(jobs, Scripted(failing={1}), at_a_time=2, console=console)
    assert [found.seed for _, found in finished.runs] == [0, 2, 3]
    with pytest.raises(RunError, match=r"1 of 4 runs failed.*run 1: run 1 is to fail"):
        finished.raise_failure()
    assert sorted(find_all(jobs)) == [0, 2, 3]


def test_whatever_ends_an_experiment_ends_its_runs_and_keeps_what_had_finished(jobs):
    backend, ended = Scripted(), []

    def stop(running):
        if ended and len(running) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(jobs, backend, at_a_time=2, on_poll=stop, on_end=ended.append)
    begun = [seed for what, seed in backend.log if what == "begins"]
    assert sorted(begun) == sorted(seed for what, seed in backend.log if what == "ends")
    assert sorted(find_all(jobs)) == sorted(one.record.seed for one in ended)
    # And nothing holds what was under way.
    rest = Scripted()
    execute(jobs, rest, at_a_time=2, on_poll=lambda _: None, on_end=ended.append)
    assert len(find_all(jobs)) == 4


def test_a_run_that_another_command_carries_out_is_left_to_it(jobs, console):
    backend = Scripted()
    with held(jobs[0].folder):
        (jobs[0].folder / "metrics.jsonl").write_text("of the other command\n")
        finished = carry_out(jobs[:2], backend, at_a_time=1, console=console)
    assert backend.log == [("begins", 1), ("ends", 1)]
    assert (jobs[0].folder / "metrics.jsonl").read_text() == "of the other command\n"
    with pytest.raises(RunError, match=r"run 0: another command is carrying it out, in .*; wait"):
        finished.raise_failure()
    carry_out(jobs[:2], backend, at_a_time=1, console=console).raise_failure()


def test_a_run_that_another_command_has_just_finished_is_reused(jobs):
    execute(jobs[:1], Scripted(), at_a_time=1, on_poll=lambda _: None, on_end=lambda _: None)
    backend, ended = Scripted(), []
    execute(jobs[:1], backend, at_a_time=1, on_poll=lambda _: None, on_end=ended.append)
    assert backend.log == []
    assert ended[0].record == find_all(jobs)[0]


@pytest.mark.parametrize("cut", [0, 1, 200, -2])
def test_a_record_that_was_cut_off_or_is_of_other_settings_is_made_again(jobs, console, cut):
    carry_out(jobs[:1], Scripted(), at_a_time=1, console=console)
    kept = jobs[0].folder / "run.json"
    whole = kept.read_bytes()
    other = Job(jobs[0].run, {"seed": 0, "rounds": 9}, "other", {})
    assert find_all(jobs[:1])
    assert find_all([other]) == {}
    kept.write_bytes(whole[:cut])
    assert find_all(jobs[:1]) == {}
    carry_out(jobs[:1], Scripted(), at_a_time=1, console=console).raise_failure()
    assert re.sub(rb'"wall_seconds": [0-9.]+', b"", kept.read_bytes()) == re.sub(
        rb'"wall_seconds": [0-9.]+', b"", whole
    )


def test_progress_is_what_of_the_rounds_has_ended(jobs):
    running = Running(jobs[0])
    parts = []
    for event in events_of(0):
        running.on_event(event)
        if event["event"] == "round":
            parts.append(running.part)
    assert parts == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_runs_that_went_on_beside_others_do_not_tell_how_long_one_takes_alone(jobs, console):
    carry_out(jobs[:2], Scripted(), at_a_time=2, console=console)
    shown = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    carry_out(jobs[:2], Scripted(), at_a_time=1, console=shown)
    assert "time left unknown" in shown.file.getvalue()
