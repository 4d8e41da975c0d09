"""What a finished run hands back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from slfac.server.best import Best
from slfac.server.energy import ScopeEnergy, total_energies
from slfac.server.evaluate import SCORES, Score
from slfac.server.ledger import DeviceTotals
from slfac.wire.bundle import State
from slfac.wire.messages import Summary


@dataclass(frozen=True)
class RoundResult:
    """One round.

    Attributes:
        round: Its number, from 0.
        train_loss: Mean training loss over its samples.
        score: Evaluation at its end; None without evaluation data.
        seconds: How long it took, evaluation included, checkpoint not.
        bytes_up: Bytes received since the run began.
        bytes_down: Bytes sent since the run began.
        float32_bytes_up: Bytes received, had smashed data come as float32.
        float32_bytes_down: Bytes sent, had gradients gone as float32.
        devices: Devices whose fronts went into it.
        participation: Of the devices that a training was for, the mean share whose batches
            were in when it was made; below 1 where a deadline let the others be late.
        energy: What devices have spent in it, by what their sensors measure: those of which it
            is known.
        energy_unknown: Devices of which it is not.
    """

    round: int
    train_loss: float
    score: Score | None
    seconds: float
    bytes_up: int
    bytes_down: int
    float32_bytes_up: int
    float32_bytes_down: int
    devices: int
    participation: float = 1.0
    energy: dict[str, ScopeEnergy] = field(default_factory=dict)
    energy_unknown: int = 0

    def as_event(self) -> dict[str, Any]:
        """Fields of the ``round`` event in the metrics."""
        values = asdict(self)
        del values["score"]
        return {**values, **(self.score.as_event() if self.score else dict.fromkeys(SCORES))}


@dataclass(frozen=True)
class DeviceResult:
    """One device over the whole run.

    Attributes:
        name: Its name.
        totals: Sums over its steps.
        bytes_up: Bytes received from it, every frame of every message.
        bytes_down: Bytes sent to it.
        wire_bytes_up: The same on TCP: with ZMTP and CURVE framing, handshakes, heartbeats.
        wire_bytes_down: Likewise.
        summary: What it said when it left; None if it never did.
        refused: How many of its messages were refused, by cause (:mod:`slfac.server.refusals`).
    """

    name: str
    totals: DeviceTotals
    bytes_up: int
    bytes_down: int
    wire_bytes_up: int
    wire_bytes_down: int
    summary: Summary | None
    refused: dict[str, int]

    @property
    def float32_bytes_up(self) -> int:
        """Bytes that the same run takes with smashed data sent as float32."""
        return self.bytes_up + self.totals.saved_bytes_up

    @property
    def float32_bytes_down(self) -> int:
        """Bytes that the same run takes with gradients sent as float32."""
        return self.bytes_down + self.totals.saved_bytes_down

    def as_event(self) -> dict[str, Any]:
        """What the metrics say about the device."""
        summary = self.summary
        return {
            "device": self.name,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "float32_bytes_up": self.float32_bytes_up,
            "float32_bytes_down": self.float32_bytes_down,
            "wire_bytes_up": self.wire_bytes_up,
            "wire_bytes_down": self.wire_bytes_down,
            **asdict(self.totals),
            "refused": self.refused,
            "summary": msgspec.structs.asdict(summary) if summary is not None else None,
        }


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        run: Its id.
        rounds: One entry a round.
        devices: One entry a device, by index.
        front: The averaged front at its end.
        checkpoint: Folder of the last checkpoint.
        best: The best round; None without evaluation.
        stopped_early: Whether it ended before its last round, for want of gain.
        seconds: From the first round's start to the last's end.
        refused_keys: Connections that were refused for their keys.
        refused: Messages that were refused, by cause.
    """

    run: str
    rounds: tuple[RoundResult, ...]
    devices: tuple[DeviceResult, ...]
    front: State
    checkpoint: Path
    best: Best | None
    stopped_early: bool
    seconds: float
    refused_keys: int
    refused: dict[str, int]

    @property
    def energy(self) -> dict[str, ScopeEnergy]:
        """What devices have spent, by what their sensors measure; different scopes do not add."""
        return total_energies((device.totals.energy for device in self.devices), ended=True)

    @property
    def energy_unknown(self) -> int:
        """Devices that have not said what they spent."""
        return sum(not device.totals.energy.seen for device in self.devices)

    @property
    def accuracy(self) -> float | None:
        """Accuracy after the last round, where it was evaluated."""
        score = self.rounds[-1].score
        return score.accuracy if score is not None else None
