"""What is known of one device of a running run."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from slfac.server.energy import DeviceEnergy, Spent
from slfac.server.ledger import PHASES, DeviceTotals

SERVER_PHASES = ("decode", "train", "encode")
DeviceState = Literal["expected", "waiting", "training", "left", "finished"]
_RECENT_STEPS = 32
# A device is at rest when nothing came for this many times the usual gap between its steps.
_QUIET_GAPS = 4.0


@dataclass
class Sums:
    """Sum and recent mean of a quantity, such as milliseconds in a phase.

    Attributes:
        count: How many there were.
        sum: Of all.
        recent: Mean of the last ones, the newest counting most.
    """

    count: int = 0
    sum: float = 0.0
    recent: float = 0.0

    def add(self, value: float) -> None:
        """Take note of one.

        Args:
            value: It.
        """
        self.count += 1
        self.sum += value
        self.recent += (value - self.recent) / min(self.count, _RECENT_STEPS)


class Rate:
    """Samples a second, over the last steps."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=_RECENT_STEPS)

    def add(self, at_s: float, samples: int) -> None:
        """Take note of a step.

        Args:
            at_s: Monotonic time at which it became known.
            samples: Its samples.
        """
        self._seen.append((at_s, samples))

    def at(self, now_s: float) -> float:
        """The rate now; 0 for a device that has stopped.

        Args:
            now_s: Monotonic time.
        """
        if len(self._seen) < 2:
            return 0.0
        first_s, last_s = self._seen[0][0], self._seen[-1][0]
        usual_s = max((last_s - first_s) / (len(self._seen) - 1), 1e-3)
        if now_s - last_s > max(_QUIET_GAPS * usual_s, 2.0):
            return 0.0
        # The first one's samples were made before the time that is looked at.
        samples = sum(count for _, count in self._seen) - self._seen[0][1]
        return samples / max(last_s - first_s, 1e-3)


@dataclass
class DevicePicture:
    """One device.

    Attributes:
        name: Its name.
        state: ``expected`` (never came), ``waiting`` (to be let in), ``training``, ``left`` or
            ``finished``.
        note: Why it left; empty otherwise.
        round: Round of its last step; None before one.
        step: Its last step, as it counts them.
        loss: Loss of that step; None where it was not finite.
        steps: Steps in all.
        samples: Samples in all.
        bytes_up: What its steps' requests took.
        bytes_down: What the answers took.
        saved_up: Bytes that encoding saved on smashed data.
        saved_down: Bytes that encoding saved on gradients.
        phases: Milliseconds of its own phases.
        server: Milliseconds of the server's phases of its steps.
        whole: Milliseconds of its whole steps.
        staleness: Trainings between what its smashed data were made from and their use, in
            modes that have it.
        rate: Samples a second.
        energy: What it said that it has spent.
    """

    name: str
    state: DeviceState = "expected"
    note: str = ""
    round: int | None = None
    step: int | None = None
    loss: float | None = None
    steps: int = 0
    samples: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    saved_up: int = 0
    saved_down: int = 0
    phases: dict[str, Sums] = field(default_factory=lambda: {p: Sums() for p in PHASES})
    server: dict[str, Sums] = field(default_factory=lambda: {p: Sums() for p in SERVER_PHASES})
    whole: Sums = field(default_factory=Sums)
    staleness: Sums = field(default_factory=Sums)
    rate: Rate = field(default_factory=Rate)
    energy: DeviceEnergy = field(default_factory=DeviceEnergy)

    def take_up(self, totals: DeviceTotals) -> None:
        """Go on from what a checkpoint knows.

        Args:
            totals: Sums over its steps.
        """
        self.steps, self.samples = totals.steps, totals.samples
        self.saved_up, self.saved_down = totals.saved_bytes_up, totals.saved_bytes_down
        self.bytes_up, self.bytes_down = totals.smashed_bytes, totals.gradient_bytes
        # The trainer goes on changing its own.
        self.energy = copy.deepcopy(totals.energy)
        for phase, total_ms in totals.phase_ms.items():
            spent = self.phases.get(phase)
            if spent is not None and totals.steps:
                spent.count, spent.sum = totals.steps, total_ms
                spent.recent = total_ms / totals.steps

    def on_energy(self, event: dict[str, Any]) -> None:
        """Take note of what it has spent.

        Args:
            event: The ``energy`` event.
        """
        spent = {scope: Spent(**fields) for scope, fields in event["total"].items()}
        self.energy = DeviceEnergy(spent=spent, lost=event["lost"], open=event["round"] is not None)

    def on_step(self, event: dict[str, Any], at_s: float) -> None:
        """Take note of a step.

        Args:
            event: The ``step`` event.
            at_s: Monotonic time at which it came.
        """
        self.state, self.note = "training", ""
        self.round, self.step, self.loss = event["round"], event["step"], event["loss"]
        self.steps += 1
        self.samples += event["samples"]
        for sums, name in ((self.staleness, "staleness"), (self.whole, "step_ms")):
            if event.get(name) is not None:
                sums.add(event[name])
        self.bytes_up += event["bytes_up"]
        self.bytes_down += event["bytes_down"]
        self.saved_up += event.get("float32_smashed_bytes", 0) - event.get("smashed_bytes", 0)
        self.saved_down += event.get("float32_gradient_bytes", 0) - event.get("gradient_bytes", 0)
        for known, told in (
            (self.phases, event.get("phase_ms")),
            (self.server, event.get("server_ms")),
        ):
            for phase, value_ms in (told or {}).items():
                if phase in known and value_ms is not None:
                    known[phase].add(value_ms)
        self.rate.add(at_s, event["samples"])
