"""Figures of parts of a run become those of all of it, without growing surer than they are."""

import dataclasses
import itertools

import pytest

from harness.powertrace import PHASES, Scene, simulate
from slfac.device.energy.attribution import attribute
from slfac.device.energy.integrate import Total
from slfac.device.energy.means import Means
from slfac.device.energy.pool import MOST_READINGS, Segment
from slfac.device.energy.resolver import Resolver
from slfac.device.energy.results import Attribution, Dropped, Estimate, PhaseEnergy

pytestmark = pytest.mark.device


def phase(name, ms, joules=None, half=0.1, why="too few readings"):
    estimate = Estimate(joules, joules - half, joules + half) if joules is not None else None
    reason = "" if joules is not None else why
    return PhaseEnergy(name, ms * 1e-3, 100.0, estimate, estimate, None, reason)


def part(steps, *phases, idle_w=None, dropped=()):
    step = phase("step", sum(one.seconds_per_step for one in phases) * 1e3, 2.0)
    total = Total(10.0, 5.0, 0.0)
    return Attribution(phases, step, steps, 50, 20, total, idle_w, None, None, dropped)


def means(*parts):
    found = Means()
    for one in parts:
        found.add(one)
    return {one.phase: one for one in found.phases()}, found


def test_parts_count_by_their_steps_and_intervals_do_not_shrink():
    first = part(300, phase("forward", 80.0, 1.0, half=0.2), idle_w=Estimate(2.0, 1.5, 2.5))
    second = part(100, phase("forward", 40.0, 2.0, half=0.4))
    by_name, found = means(first, second)
    forward = by_name["forward"]
    assert forward.ms == pytest.approx(70.0)
    assert forward.joules == Estimate(1.25, pytest.approx(1.0), pytest.approx(1.5))
    assert forward.unresolved == ""
    assert found.idle_w() == Estimate(2.0, 1.5, 2.5)
    assert found.lag_s() is None
    assert (found.steps, found.readings) == (400, 100)


def test_a_phase_that_one_part_resolves_is_resolved_and_one_that_none_does_is_not():
    first = part(100, phase("send", 5.0), phase("update", 1.0, why="first"))
    second = part(100, phase("send", 7.0, 0.5), phase("update", 1.0, why="last"))
    by_name, _ = means(first, second)
    assert by_name["send"].joules.value == 0.5
    assert by_name["send"].ms == pytest.approx(6.0)
    assert by_name["update"].joules is None
    assert by_name["update"].unresolved == "last"
    assert list(by_name) == ["send", "update", "step"], "the order of a step, whole steps last"


def test_what_was_left_out_is_added_up_by_reason():
    hot, lost = Dropped("steps", 3, "throttled"), Dropped("readings", 1, "absurd")
    _, found = means(part(10, dropped=(hot, lost)), part(10, dropped=(hot,)))
    assert found.dropped() == (Dropped("steps", 6, "throttled"), lost)


def test_parts_without_steps_say_only_why():
    hot = Dropped("steps", 30, "throttled")
    by_name, found = means(part(0, phase("forward", 1.0, 5.0), dropped=(hot,)))
    assert by_name == {}
    assert found.steps == 0
    assert found.dropped() == (hot,)


def test_a_long_run_is_looked_at_part_by_part():
    scene = simulate(Scene(steps=600, rate_hz=75.0, window_s=0.0133, idle_s=5.0), seed=2)
    said = []
    resolver = Resolver(said.append)
    edges = [scene.timeline.begin_s, *scene.timeline.steps[59::60, 1], scene.timeline.end_s]
    for begin_s, end_s in itertools.pairwise(edges):
        resolver.add(cut(scene, begin_s, end_s))
    resolver.finish()
    assert len(scene.trace) > MOST_READINGS
    assert len(resolver.means._parts) == 2
    found = {one.phase: one for one in resolver.means.phases()}
    for name in PHASES:
        joules = found[name].joules
        assert joules.low <= scene.joules[name] / 600 <= joules.high, name
    assert resolver.means.steps == 600
    assert resolver.spent_s > 0
    assert said == []


def cut(scene, begin_s, end_s):
    def own(spans):
        return spans[(spans[:, 0] >= begin_s - 1e-9) & (spans[:, 1] <= end_s + 1e-9)]

    timeline = dataclasses.replace(
        scene.timeline,
        spans={name: own(spans) for name, spans in scene.timeline.spans.items()},
        steps=own(scene.timeline.steps),
        begin_s=begin_s,
        end_s=end_s,
    )
    late = scene.trace.t_s > begin_s
    return Segment(timeline, scene.trace.where(late & (scene.trace.t_s <= end_s)), None)


def test_a_part_that_cannot_be_told_harms_nothing(monkeypatch):
    scene = simulate(Scene(steps=40, idle_s=2.0), seed=0)
    said = []
    resolver = Resolver(said.append)

    def fail(*_args, **_fields):
        raise ValueError("broken")

    monkeypatch.setattr("slfac.device.energy.resolver.attribute", fail)
    resolver.add(cut(scene, scene.timeline.begin_s, scene.timeline.end_s))
    resolver.finish()
    assert said == ["phases of 40 steps cannot be told: ValueError: broken"]
    assert resolver.dropped() == (Dropped("steps", 40, "ValueError: broken"),)
    monkeypatch.setattr("slfac.device.energy.resolver.attribute", attribute)
    resolver.add(cut(scene, scene.timeline.begin_s, scene.timeline.end_s))
    resolver.finish()
    assert resolver.means.steps == 40
