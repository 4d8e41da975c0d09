"""What a training step and a round take on a board: time, energy, memory, bytes.

The phases follow one another, as they do without micro-batches; a batch is loaded meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from slfac.hw_profiles.estimate import (
    Estimate,
    Guess,
    Term,
    Unknown,
    added,
    exact,
    product,
    total,
)
from slfac.hw_profiles.link import Path
from slfac.hw_profiles.machine import Machine
from slfac.hw_profiles.power import dynamic_w, idle_w
from slfac.wire.costs import Costs

SERVER: Final = "server"


@dataclass(frozen=True)
class Load:
    """What a board is to do: one cut with one codec.

    Attributes:
        model: Which model it is a front of.
        costs: What the front costs.
        batch: Samples in a batch.
        codec: The codec, as it calls itself.
        tensor_bytes: Bytes of float32 of a batch's smashed data; gradients have as many.
        up_bytes: Bytes on TCP that a step sends.
        down_bytes: Bytes on TCP that it receives.
        server_ms: How long the server takes for a step.
        front_bytes: Bytes of the front's state, which is sent and received once a round.
    """

    model: str
    costs: Costs
    batch: int
    codec: str
    tensor_bytes: int
    up_bytes: Estimate
    down_bytes: Estimate
    server_ms: Guess
    front_bytes: int


@dataclass(frozen=True)
class PhaseGuess:
    """What one phase takes.

    Attributes:
        name: Which phase.
        ms: How long.
        joules: How much energy, that of the idle board included.
    """

    name: str
    ms: Guess
    joules: Guess


@dataclass(frozen=True)
class Prediction:
    """What a step, a round or a run takes.

    Attributes:
        phases: Phase by phase, in order.
        ms: In all.
        joules: In all.
        up_bytes: Sent, on TCP.
        down_bytes: Received, on TCP.
        peak_mib: Memory at its peak.
    """

    phases: tuple[PhaseGuess, ...]
    ms: Guess
    joules: Guess
    up_bytes: Estimate
    down_bytes: Estimate
    peak_mib: Guess

    @property
    def bytes(self) -> Estimate:
        """Sent and received."""
        return added((self.up_bytes, self.down_bytes))


def predict_step(machine: Machine, path: Path, load: Load) -> Prediction:
    """A training step.

    Args:
        machine: The board.
        path: The way to the server.
        load: What is to be done.

    Returns:
        Its phases: ``forward``, ``encode``, ``send``, ``wait`` (the round trip, the server, and
        what is received), ``decode``, ``backward``, ``update``.
    """
    server = load.server_ms
    if not isinstance(server, Unknown):
        server = _named(server, "server")
    waits = (path.rtt_ms, server, path.receive_ms(load.down_bytes))
    times: dict[str, Guess] = {
        "forward": machine.front_ms(load.costs, load.batch, "forward", load.model),
        "encode": machine.codec_ms(load.codec, "encode", load.tensor_bytes),
        "send": path.send_ms(load.up_bytes),
        "wait": _sum_but_round_trip(waits),
        "decode": machine.codec_ms(load.codec, "decode", load.tensor_bytes),
        "backward": machine.front_ms(load.costs, load.batch, "backward", load.model),
        "update": machine.front_ms(load.costs, load.batch, "update", load.model),
    }
    radio = {"send": path.send_j(load.up_bytes), "wait": path.receive_j(load.down_bytes)}
    phases = tuple(
        PhaseGuess(name, ms, _joules(machine, name, ms, radio.get(name)))
        for name, ms in times.items()
    )
    peak = machine.peak_mib(load.costs, load.batch)
    return _summed(phases, load.up_bytes, load.down_bytes, peak)


def predict_round(
    machine: Machine, path: Path, load: Load, step: Prediction, samples: int
) -> Prediction:
    """A round: as many steps as a pass over the data takes, then weights up and down.

    Args:
        machine: The board.
        path: The way to the server.
        load: What is to be done.
        step: A step of it.
        samples: Samples of the board's data; the last batch counts as a whole one.

    Returns:
        The phases of all steps, and ``weights``.
    """
    steps = math.ceil(samples / load.batch)
    size = exact(load.front_bytes, "size of the front's state")
    ms = _sum_but_round_trip((path.rtt_ms, path.send_ms(size), path.receive_ms(size)))
    radio = total((path.send_j(size), path.receive_j(size)))
    weights = PhaseGuess("weights", ms, _joules(machine, "weights", ms, radio))
    phases = (*(_phase_times(phase, steps) for phase in step.phases), weights)
    up = added((step.up_bytes.times(steps), size))
    down = added((step.down_bytes.times(steps), size))
    return _summed(phases, up, down, step.peak_mib)


def times(prediction: Prediction, count: int) -> Prediction:
    """So many of the same.

    Args:
        prediction: One of them.
        count: How many.
    """
    phases = tuple(_phase_times(phase, count) for phase in prediction.phases)
    up, down = prediction.up_bytes.times(count), prediction.down_bytes.times(count)
    return _summed(phases, up, down, prediction.peak_mib)


def _joules(machine: Machine, phase: str, ms: Guess, radio: Guess | None) -> Guess:
    """Energy of a phase; at least what is known where that of the radio is not."""
    idle, above = idle_w(machine), dynamic_w(machine, phase)
    if isinstance(ms, Unknown):
        return ms
    if isinstance(idle, Unknown):
        return idle
    if isinstance(above, Unknown):
        return above
    drawn = added([_drawn(phase, "idle", ms, idle), _drawn(phase, "above idle", ms, above)])
    if radio is None:
        return drawn
    if isinstance(radio, Unknown):
        missing = tuple(f"radio: {why}" for why in radio.why.split("; "))
        return replace(drawn, missing=(*drawn.missing, *missing))
    term = Term(f"{phase}: radio", radio.value, "J", radio.tier, radio.source)
    return added([drawn, radio.of(term)])


def _drawn(phase: str, what: str, ms: Estimate, power: Estimate) -> Estimate:
    energy = product(ms.times(1e-3), power, power.source)
    said = f"{phase}: {what}, {power.value:.3g} W for {ms.value:.4g} ms"
    return energy.of(Term(said, energy.value, "J", energy.tier, power.source))


def _sum_but_round_trip(parts: tuple[Guess, ...]) -> Guess:
    """A sum of which the first part is the round trip, without which it is at least the rest."""
    trip, *rest = parts
    if not isinstance(trip, Unknown):
        return total((_named(trip, "round trip"), *rest))
    known = total(rest)
    if isinstance(known, Unknown):
        return known
    return replace(known, missing=(*known.missing, f"round trip: {trip.why}"))


def _named(estimate: Estimate, what: str) -> Estimate:
    term = Term(what, estimate.value, "ms", estimate.tier, estimate.source)
    return estimate.of(term)


def _phase_times(phase: PhaseGuess, count: int) -> PhaseGuess:
    def more(guess: Guess) -> Guess:
        return guess if isinstance(guess, Unknown) else guess.times(count)

    return PhaseGuess(phase.name, more(phase.ms), more(phase.joules))


def _summed(
    phases: tuple[PhaseGuess, ...], up: Estimate, down: Estimate, peak: Guess
) -> Prediction:
    return Prediction(
        phases=phases,
        ms=total(phase.ms for phase in phases),
        joules=total(phase.joules for phase in phases),
        up_bytes=up,
        down_bytes=down,
        peak_mib=peak,
    )
