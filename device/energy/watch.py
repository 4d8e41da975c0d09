"""Measures where the joules of a run go while it trains."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from slfac.device.energy.host import Host, host_at
from slfac.device.energy.means import MeanPhase
from slfac.device.energy.opening import open_for_run
from slfac.device.energy.outcome import RoundEnergy, RunEnergy, Stretch
from slfac.device.energy.phasemeter import PhaseMeter
from slfac.device.energy.pool import Segment
from slfac.device.energy.recent import Recent
from slfac.device.energy.resolver import Resolver
from slfac.device.energy.sampler import Recording, Sampler, SamplerCost
from slfac.device.energy.settings import SensorSettings
from slfac.device.energy.tally import Tally
from slfac.device.energy.throttle import ThrottleWatch
from slfac.device.energy.trace import PowerTrace
from slfac.wire.messages import Energy, Phase, PhaseEnergy

# Between two steps, so that buffers need not hold a whole round.
_CUT_EVERY_NS = 30 * 10**9
_MOST_ROUNDS = 10_000
# A device may have to wait for the others: two hours at 36 readings a second.
_CAPACITY = 1 << 18
_NO_READINGS = PowerTrace(*np.zeros((3, 0)))


class EnergyWatch:
    """Measures one run on this device; nothing that goes wrong with its sensor harms training.

    Only the thread that trains calls its methods, and only between phases.

    Args:
        settings: Which sensor is read.
        on_status: Told what people should know.
        host: Where sensors are looked for; None for this machine.

    Attributes:
        meter: Takes down when phases run.
        scope: What the sensor measures; None without one.

    Raises:
        SettingsError: The settings name no sensor that there is.
        SensorError: A sensor that they name cannot be read.
    """

    def __init__(
        self,
        settings: SensorSettings,
        on_status: Callable[[str], None],
        host: Host | None = None,
    ) -> None:
        host = host or host_at(Path("/"))
        self._on_status = on_status
        self._id = secrets.randbits(63)
        self._reading = contextlib.ExitStack()
        sensor = open_for_run(host, settings, on_status)
        self._reading.callback(sensor.close)
        self._info, self.scope = sensor.info, sensor.info.scope
        self._sampler: Sampler | None = None
        if self.scope is not None:
            watch = ThrottleWatch(host)
            self._sampler = Sampler(sensor, throttled=watch, capacity=_CAPACITY)
            self._reading.enter_context(self._sampler)
        self.meter = PhaseMeter()
        self._cut_ns = time.monotonic_ns()
        self._tally = Tally(self._cut_ns * 1e-9)
        self._resolver, self._recent = Resolver(on_status), Recent()
        self._begin_s: float | None = None
        self._waiting = self._total = self._round = Stretch()
        self._rounds: deque[RoundEnergy] = deque(maxlen=_MOST_ROUNDS)
        self._failures, self._error, self._lost = 0, "", False
        self._cost: SamplerCost | None = None
        self._closed = False

    def ask_in(self) -> None:
        """Take note that this device is about to ask to be let in.

        What it did before the first time, such as fetching the bundle, is no part of the phases.
        """
        self._cut(first=self._begin_s is None)

    def let_in(self) -> None:
        """Take note that this device was let in; what it spends counts from the first time on."""
        self._cut()
        if self._begin_s is None:
            self._begin_s = self._cut_ns * 1e-9
            self._waiting, self._total, self._round = self._total, Stretch(), Stretch()

    def step_made(self) -> None:
        """Take note of the end of a step."""
        if time.monotonic_ns() - self._cut_ns > _CUT_EVERY_NS:
            self._cut()

    def round_made(self, round_: int) -> None:
        """Take note that a round's front is about to leave.

        Args:
            round_: The round.
        """
        self._cut()
        self._rounds.append(RoundEnergy(round_, self._round))
        self._round = Stretch()

    def last_round(self) -> Stretch | None:
        """What the last round took; None without a sensor."""
        return self._rounds[-1].spent if self._rounds and self.scope is not None else None

    def told(self) -> tuple[Energy, ...]:
        """What the server is told; nothing without a sensor, or before this device was let in."""
        if self.scope is None or self._begin_s is None:
            return ()
        spent = Energy(
            meter=self._id,
            scope=self.scope,
            joules=self._total.joules,
            covered_s=self._total.covered_s,
            missing_s=self._total.missing_s,
            steps=self._resolver.means.steps,
            phases=tuple(_told(phase) for phase in self._resolver.means.phases()),
        )
        return (spent,)

    def finish(self) -> RunEnergy:
        """Stop reading, look at what is left, and give an account of all."""
        self.close()
        self._resolver.finish()
        means = self._resolver.means
        return RunEnergy(
            sensor=self._info,
            waiting=self._waiting,
            total=self._total,
            rounds=tuple(self._rounds),
            phases=means.phases(),
            steps=means.steps,
            readings=means.readings,
            idle_w=means.idle_w(),
            lag_s=means.lag_s(),
            dropped=self._resolver.dropped(),
            failures=self._failures,
            error=self._error,
            lost=self._lost,
            cost=self._cost,
            looking_s=self._resolver.spent_s,
            recent=self._recent.segment(),
            begin_s=self._begin_s if self._begin_s is not None else self._cut_ns * 1e-9,
        )

    def close(self) -> None:
        """Stop reading, and give the sensor back."""
        if not self._closed:
            self._closed = True
            self._cut()
            self._reading.close()

    def _cut(self, *, first: bool = False) -> None:
        """Take in what was stamped and read since the last time; only its energy, if first."""
        recording = self._sampler.take() if self._sampler is not None else None
        before_s, self._cut_ns = self._cut_ns * 1e-9, time.monotonic_ns()
        timeline = self.meter.take()
        trace, throttled = _NO_READINGS, None
        if recording is not None:
            trace, throttled = recording.trace, recording.throttled
            self._look_after(recording)
        total = self._tally.add(trace, self._cut_ns * 1e-9)
        self._total, self._round = self._total.plus(total), self._round.plus(total)
        if first:
            return
        # Where nothing is stamped, something is going on that is no phase.
        timeline = replace(timeline, begin_s=before_s, end_s=self._cut_ns * 1e-9)
        segment = Segment(timeline, trace, throttled)
        self._recent.add(segment)
        self._resolver.add(segment)

    def _look_after(self, recording: Recording) -> None:
        self._cost = recording.cost
        self._failures += recording.failures
        self._error = recording.error or self._error
        lost, self._lost = self._lost, recording.lost_s is not None
        if self._lost and not lost:
            self._on_status(
                f"sensor {self._info.name} gives nothing any more: {recording.error}; "
                "joules are unknown until it does, and training goes on"
            )
        elif lost and not self._lost:
            self._on_status(f"sensor {self._info.name} gives readings again")


def _told(phase: MeanPhase) -> PhaseEnergy:
    joules = phase.joules
    sides = (joules.value, joules.low, joules.high) if joules is not None else (None,) * 3
    return PhaseEnergy(cast("Phase", phase.phase), phase.ms, *sides)
