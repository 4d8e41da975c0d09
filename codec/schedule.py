"""Learning-rate schedules, which both ends compute alike from a round and a step alone.

=====================  ====================================================================
``constant``           the optimiser's own rate
``linear:final=0``     falls to ``final`` times the rate in equal parts
``cosine:final=0``     falls to it along half a cosine (Loshchilov & Hutter 2017,
                       arXiv:1608.03983, without restarts)
``step:every=10,       takes ``factor`` times the rate each ``every`` rounds
factor=0.1``
=====================  ====================================================================

Each takes ``warmup``: over so many rounds the rate first rises in equal parts, and the
schedule begins behind them. They are those of ``torch.optim.lr_scheduler`` (``LinearLR``,
``CosineAnnealingLR``, ``StepLR``, a ``SequentialLR`` with a warm-up), in closed form.

The rate moves with every step where the run sets the steps of a round. Where a round is one
pass over a device's data, devices make different numbers of steps, and the rate moves with
every round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from slfac.codec.spec import Fields, parse_spec
from slfac.wire.errors import SettingsError

_NAMES = ("constant", "linear", "cosine", "step")


@dataclass(frozen=True)
class Schedule:
    """Which share of its optimiser's rate a step takes.

    Attributes:
        name: ``constant``, ``linear``, ``cosine`` or ``step``.
        ticks_per_round: How often the rate moves in a round.
        warmup: Ticks of the warm-up.
        total: Ticks behind it.
        final: Share at the end of ``linear`` and ``cosine``.
        every: Ticks between two falls of ``step``.
        factor: What each of them multiplies the rate with.
    """

    name: str
    ticks_per_round: int
    warmup: int
    total: int
    final: float
    every: int
    factor: float

    def share(self, round_: int, step: int) -> float:
        """The share of one step.

        Args:
            round_: The round, from 0.
            step: The device's own step, counted from the start of any whole round.

        Returns:
            What to multiply the optimiser's rate with, in [0, 1].
        """
        tick = round_ * self.ticks_per_round + step % self.ticks_per_round
        if tick < self.warmup:
            return (tick + 1) / self.warmup
        tick = min(tick - self.warmup, self.total)
        if self.name == "linear":
            return 1 - (1 - self.final) * tick / self.total
        if self.name == "cosine":
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * tick / self.total)) / 2
        if self.name == "step":
            share: float = self.factor ** (tick // self.every)
            return share
        return 1.0


def make_schedule(spec: str, *, rounds: int, steps_per_round: int) -> Schedule:
    """Make a schedule from its spec.

    Args:
        spec: See the module's docstring. ``warmup`` (0) and ``every`` (10) count rounds;
            ``warmup`` may be a part of one.
        rounds: Rounds of the run.
        steps_per_round: Steps of a device in each; 0 for one pass over its data.

    Returns:
        The schedule.

    Raises:
        SettingsError: The spec does not parse, names an unknown schedule or field, or has a
            value out of range, such as a warm-up that fills the run.
    """
    name, values = parse_spec(spec)
    if name not in _NAMES:
        raise SettingsError(f"schedule {name!r} is unknown", f"use one of {', '.join(_NAMES)}")
    fields = Fields(name, values)
    ticks = steps_per_round or 1
    rounds_of_warmup = fields.number("warmup", 0.0, low=0, high=1e6)
    warmup = round(rounds_of_warmup * ticks)
    falls = name in ("linear", "cosine")
    final = fields.number("final", 0.0, low=0, high=1) if falls else 1.0
    every = fields.integer("every", 10, low=1, high=10**6) if name == "step" else rounds
    factor = fields.number("factor", 0.1, low=0, high=1) if name == "step" else 1.0
    fields.finish()
    if warmup >= rounds * ticks:
        raise SettingsError(
            f"{name}: field warmup is {rounds_of_warmup:g}, of {rounds} rounds in all",
            "let it be over before the run is",
        )
    return Schedule(
        name=name,
        ticks_per_round=ticks,
        warmup=warmup,
        total=rounds * ticks - warmup,
        final=final,
        every=every * ticks,
        factor=factor,
    )
