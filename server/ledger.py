"""What the run did, step by step: written to the metrics, summed up for the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from slfac.server.back import Outcome
from slfac.server.energy import DeviceEnergy, RoundEnergies, ScopeEnergy
from slfac.server.exchange import Answer, Decoded
from slfac.server.metrics import Metrics
from slfac.wire.messages import Clock, Energy, Timings

PHASES = ("load", "forward", "encode", "send", "wait", "decode", "backward", "update")


@dataclass
class DeviceTotals:
    """Sums over one device's steps.

    Attributes:
        steps: Steps made.
        samples: Samples seen.
        smashed_bytes: Encoded smashed data received.
        smashed_values: float32 values it stands for.
        gradient_bytes: Encoded gradients sent.
        gradient_values: float32 values they stand for.
        phase_ms: Time per phase.
        target_bytes: Encoded targets received.
        front_bytes_up: Fronts received, with their messages' headers.
        front_bytes_down: Fronts sent, likewise.
        late: Trainings that were made without it, because its batch was not in.
        energy: What it has spent, as far as it said.
    """

    steps: int = 0
    samples: int = 0
    smashed_bytes: int = 0
    smashed_values: int = 0
    gradient_bytes: int = 0
    gradient_values: int = 0
    phase_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    target_bytes: int = 0
    front_bytes_up: int = 0
    front_bytes_down: int = 0
    late: int = 0
    energy: DeviceEnergy = field(default_factory=DeviceEnergy)

    @property
    def saved_bytes_up(self) -> int:
        """Bytes that encoding saved on smashed data, against float32."""
        return 4 * self.smashed_values - self.smashed_bytes

    @property
    def saved_bytes_down(self) -> int:
        """Bytes that encoding saved on gradients, against float32."""
        return 4 * self.gradient_values - self.gradient_bytes


class Ledger:
    """Keeps a device's step until its timings come in, then writes it.

    A device measures a step only when it is over, so a step's timings travel with its
    next request.

    Args:
        names: Device names by index.
        metrics: Where steps are written.
    """

    def __init__(self, names: tuple[str, ...], metrics: Metrics) -> None:
        self._names = names
        self._metrics = metrics
        self._open: dict[int, dict[str, Any]] = {}
        self._clocks: dict[str, Clock] = {}
        self._round_energies = RoundEnergies()
        self.totals = {name: DeviceTotals() for name in names}

    def step(
        self,
        decoded: Decoded,
        answer: Answer,
        outcome: Outcome,
        *,
        round_: int,
        training: int,
        place: int,
        train_ms: float,
    ) -> None:
        """Take note of a step that was answered, or of one more part of it.

        Args:
            decoded: The request.
            answer: The reply.
            outcome: What the training gave the device.
            round_: The round.
            training: Which training of the round it was part of.
            place: Its place in the order of that training.
            train_ms: Time of the training step.
        """
        step = decoded.step
        header = step.arrived.transfer.header
        index = step.arrived.index
        totals = self.totals[self._names[index]]
        totals.steps += header.part == 0
        totals.samples += header.samples
        totals.target_bytes += step.target_bytes
        totals.smashed_bytes += step.smashed_bytes
        totals.smashed_values += step.smashed_values
        totals.gradient_bytes += answer.gradient_bytes
        totals.gradient_values += answer.gradient_values
        line: dict[str, Any] = {
            "round": round_,
            "step": header.step,
            "training": training,
            "place": place,
            "device": self._names[index],
            "samples": header.samples,
            "parts": 1,
            "loss": outcome.loss,
            "bytes_up": step.arrived.request_bytes,
            "bytes_down": answer.bytes,
            "smashed_bytes": step.smashed_bytes,
            "gradient_bytes": answer.gradient_bytes,
            "float32_smashed_bytes": 4 * step.smashed_values,
            "float32_gradient_bytes": 4 * answer.gradient_values,
            "server_ms": {
                "decode": decoded.decode_ms,
                "train": train_ms,
                "encode": answer.encode_ms,
            },
        }
        if outcome.staleness is not None:
            line["staleness"] = outcome.staleness
        before = self._open.get(index) if header.part else None
        self._open[index] = line if before is None else _together(before, line)

    def front(self, index: int, *, bytes_up: int = 0, bytes_down: int = 0) -> None:
        """Take note of a front that came or went.

        Args:
            index: The device.
            bytes_up: Bytes of a request that holds one.
            bytes_down: Bytes of a reply that holds one.
        """
        totals = self.totals[self._names[index]]
        totals.front_bytes_up += bytes_up
        totals.front_bytes_down += bytes_down

    def late(self, index: int) -> None:
        """Take note that a training was made without a device that it was for.

        Args:
            index: The device.
        """
        self.totals[self._names[index]].late += 1

    def measured(self, index: int, clock: Sequence[Clock]) -> None:
        """Take note of what a device measured of the server's clock.

        Args:
            index: The device.
            clock: What it says; empty where that is nothing new.
        """
        for one in clock:
            self._clocks[self._names[index]] = one

    def clock(self, index: int) -> dict[str, float] | None:
        """What a device last said of the server's clock; None where it has said nothing.

        Args:
            index: The device.

        Returns:
            Its fields by name.
        """
        found = self._clocks.get(self._names[index])
        return msgspec.structs.asdict(found) if found is not None else None

    def clocks(self) -> dict[str, dict[str, float] | None]:
        """What each device last said of the server's clock, by name."""
        return {name: self.clock(index) for index, name in enumerate(self._names)}

    def energy(self, index: int, energy: Sequence[Energy], *, round_: int | None = None) -> None:
        """Take note of what a device says that it has spent.

        Args:
            index: The device.
            energy: What it says; empty where it does not measure.
            round_: The round that it has made; None when it leaves.
        """
        name = self._names[index]
        known = self.totals[name].energy
        for one in energy:
            gained = known.take(one, last=round_ is None)
            self._round_energies.add(name, gained)
            self._metrics.write(
                "energy",
                round=round_,
                device=name,
                scope=gained.scope,
                joules=gained.joules,
                covered_s=gained.spent.covered_s,
                missing_s=gained.spent.missing_s,
                total={scope: asdict(spent) for scope, spent in known.spent.items()},
                lost=known.lost,
                steps=known.steps,
                phases=known.phases,
            )

    def gone(self, index: int) -> None:
        """Take note that a device's process may have ended without a word.

        Args:
            index: The device.
        """
        name = self._names[index]
        known = self.totals[name].energy
        known.gone()
        if known.meter is not None:
            self._round_energies.miss(name)

    def round_energies(self, devices: Iterable[int]) -> tuple[dict[str, ScopeEnergy], int]:
        """What was spent since the last time.

        Args:
            devices: Those whose fronts went into the round.

        Returns:
            Sums by scope, and of how many devices it is unknown.
        """
        return self._round_energies.close(self._names[index] for index in devices)

    def timings(self, index: int, timings: Timings | None) -> None:
        """Write a device's last step, now that its timings are known, or never will be.

        Args:
            index: The device.
            timings: What it measured; None when it was lost.
        """
        line = self._open.pop(index, None)
        if line is None:
            return
        phases = None
        if timings is not None:
            phases = {p: getattr(timings, f"{p}_ms") for p in PHASES}
            totals = self.totals[self._names[index]]
            for phase, value in phases.items():
                totals.phase_ms[phase] += value
        step_ms = timings.step_ms if timings is not None else None
        self._metrics.write("step", **line, phase_ms=phases, step_ms=step_ms)


_SUMMED = (
    "samples",
    "parts",
    "bytes_up",
    "bytes_down",
    "smashed_bytes",
    "gradient_bytes",
    "float32_smashed_bytes",
    "float32_gradient_bytes",
)


def _together(before: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a step with one more of its parts."""
    sums = {name: before[name] + line[name] for name in _SUMMED}
    losses = before["loss"] * before["samples"] + line["loss"] * line["samples"]
    times = {name: ms + line["server_ms"][name] for name, ms in before["server_ms"].items()}
    return {**before, **sums, "loss": losses / sums["samples"], "server_ms": times}
