"""From blocks of traffic and a sensor's readings to joules a megabyte and a packet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from slfac.device.energy.integrate import integrate
from slfac.device.energy.phases import touched
from slfac.device.energy.sampler import Recording
from slfac.device.profiling.blockfit import BlockFit, fit_blocks
from slfac.device.profiling.radio.blocks import BlockPlan, BlockRun
from slfac.device.profiling.spread import Figure, student
from slfac.wire.errors import SensorError

# Of each kind of block so many must be left, or what the kind would tell is luck.
_LEAST_KEPT: Final = 3
# An interval half as wide as all that a block drew says nothing of one of its causes.
_WIDEST: Final = 0.5
_MB: Final = 1e-6
# A packet holds up to 1448 bytes; a small one less than a third of that.
_SMALL_MB: Final = 500e-6
_WAYS: Final = ("up", "down")
_VERBS: Final = ("sends", "receives")


@dataclass(frozen=True)
class Told:
    """A figure, or why there is none.

    Attributes:
        figure: With its 95 % interval; None where it is not resolved.
        why: Why it is not; empty where it is.
    """

    figure: Figure | None
    why: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A block that does not count.

    Attributes:
        number: Which block, from 1.
        why: What was wrong with it.
    """

    number: int
    why: str


@dataclass(frozen=True)
class KindSeen:
    """What blocks of a kind drew.

    Attributes:
        name: The kind.
        blocks: How many of them count.
        above_idle_w: Their mean power above idle.
        fitted_w: What the fitted figures say of it.
    """

    name: str
    blocks: int
    above_idle_w: float
    fitted_w: float


@dataclass(frozen=True)
class RadioCost:
    """What a link costs above idle.

    Attributes:
        send_j_per_mb: For 10**6 bytes sent on TCP at full speed; beside what their packets cost
            where that is told, and with it where it is not.
        receive_j_per_mb: The same of bytes received.
        j_per_frame: For each network packet sent or received.
        send_w: Mean power while sending as fast as the link takes it.
        receive_w: The same of receiving.
        idle_w: Mean power between the blocks.
        kinds: By kind of block.
        left_w: Root mean square of what the fit leaves of the blocks.
        kept: Blocks that count.
        left_out: Those that do not.
    """

    send_j_per_mb: Told
    receive_j_per_mb: Told
    j_per_frame: Told
    send_w: Told
    receive_w: Told
    idle_w: Figure
    kinds: tuple[KindSeen, ...]
    left_w: float
    kept: int
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class _Block:
    """A block that counts."""

    kind: int
    above_idle_w: float
    idle_w: float
    row: tuple[float, float, float, float]


def fit_radio(
    runs: Sequence[BlockRun], plan: BlockPlan, recording: Recording, *, seed: int = 0
) -> RadioCost:
    """Fit what blocks drew above idle.

    The mean power of each block above that of the idleness around it is taken to be
    ``awake + send * MB sent / s + receive * MB received / s + frame * frames / s``. What being
    awake costs is added to the figures of a megabyte, by how long one takes at full speed.
    The energy of a block is counted until ``settle_s`` after its end, so that what a radio still
    draws then, and what a sensor shows late, belongs to it.

    Args:
        runs: The blocks, in the order of time.
        plan: What they did.
        recording: What the sensor saw, on the same clock.
        seed: Of the resampling.

    Raises:
        SensorError: Too few blocks count.
    """
    blocks, left_out = _usable(runs, plan, recording)
    if not blocks:
        whys = "; ".join(dict.fromkeys(out.why for out in left_out))
        raise SensorError(
            f"none of {len(runs)} blocks can be used: {whys}",
            "look at the sensor (`slfac profile sensors`) and at the link (`slfac profile link`)",
        )
    rows = np.array([block.row for block in blocks])
    watts = np.array([block.above_idle_w for block in blocks])
    kinds = np.array([block.kind for block in blocks])
    functions, fills = _functions(plan, rows, kinds)
    fit = fit_blocks(rows, watts, kinds, functions, seed=seed)
    scales = [_most(rows, watts, kinds, column) for column in (1, 2, 3, 1, 2)]
    told = [_told(fit, i, scale, len(blocks)) for i, scale in enumerate(scales)]
    apart = told[2].figure is not None
    per_mb = told[:2] if apart else told[3:]
    for i in (0, 1):
        if not fills[i]:
            per_mb[i] = Told(None, f"no block {_VERBS[i]} as fast as the link takes it")
    return RadioCost(
        send_j_per_mb=per_mb[0],
        receive_j_per_mb=per_mb[1],
        j_per_frame=told[2],
        send_w=_drawn(plan, kinds, watts, "up"),
        receive_w=_drawn(plan, kinds, watts, "down"),
        idle_w=cast("Figure", student([block.idle_w for block in blocks])),
        kinds=_kinds(plan, kinds, watts, fit),
        left_w=float(np.sqrt(np.mean(fit.left**2))),
        kept=len(blocks),
        left_out=tuple(left_out),
    )


def _usable(
    runs: Sequence[BlockRun], plan: BlockPlan, recording: Recording
) -> tuple[list[_Block], list[LeftOut]]:
    """Blocks of kinds that have enough of them, and the others."""
    found: list[tuple[int, _Block]] = []
    left_out: list[LeftOut] = []
    for number, run in enumerate(runs, 1):
        made = _block(runs, number - 1, plan, recording)
        if isinstance(made, _Block):
            found.append((number, made))
        else:
            left_out.append(LeftOut(number, f"{plan.kinds[run.kind]}: {made}"))
    counts = {kind: sum(b.kind == kind for _, b in found) for kind in range(len(plan.kinds))}
    for number, block in found:
        if counts[block.kind] < _LEAST_KEPT:
            why = f"{plan.kinds[block.kind]}: only {counts[block.kind]} of its kind can be used"
            left_out.append(LeftOut(number, why))
    left_out.sort(key=lambda out: out.number)
    return [block for _, block in found if counts[block.kind] >= _LEAST_KEPT], left_out


def _block(
    runs: Sequence[BlockRun], at: int, plan: BlockPlan, recording: Recording
) -> _Block | str:
    """A block, or why it cannot be used."""
    run = runs[at]
    if run.error:
        return f"the link broke ({run.error})"
    since_s = runs[at - 1].end_s + plan.settle_s if at else run.begin_s - plan.idle_s
    settled_s = run.end_s + plan.settle_s
    until_s = runs[at + 1].begin_s if at + 1 < len(runs) else settled_s + plan.idle_s
    if recording.throttled is not None:
        span = np.array([[since_s, until_s]])
        if touched(span, recording.throttled)[0]:
            return "the board was throttled"
    totals = [
        integrate(recording.trace, begin_s, end_s)
        for begin_s, end_s in (
            (since_s, run.begin_s),
            (run.begin_s, settled_s),
            (settled_s, until_s),
        )
    ]
    if any(total.missing_s > 0 or total.joules is None for total in totals):
        return f"the sensor gave nothing for a while{_because(recording)}"
    before_w, joules, after_w = totals[0].watts, totals[1].joules, totals[2].watts
    if before_w is None or joules is None or after_w is None:
        return f"the sensor gave nothing{_because(recording)}"
    # Both lie alike far from the block's middle, so that a drift falls out.
    idle_w = (before_w + after_w) / 2
    seconds = run.end_s - run.begin_s
    return _Block(
        kind=run.kind,
        above_idle_w=(joules - idle_w * (settled_s - run.begin_s)) / seconds,
        idle_w=idle_w,
        row=(
            1.0,
            run.sent.bytes * _MB / seconds,
            run.received.bytes * _MB / seconds,
            (run.sent.frames + run.received.frames) / seconds,
        ),
    )


def _because(recording: Recording) -> str:
    return f" ({recording.error})" if recording.error else ""


def _functions(
    plan: BlockPlan, rows: np.ndarray, kinds: np.ndarray
) -> tuple[np.ndarray, tuple[bool, bool]]:
    """A megabyte sent and received without their packets, a packet, and the first two with them.

    Returns:
        Weights of the coefficients in each, ``(5, 4)``, and whether there are blocks that fill the
        link up and down.
    """
    functions = np.zeros((5, 4))
    functions[2, 3] = 1.0
    fills = [False, False]
    for i, way in enumerate(_WAYS):
        own = _filling(plan, kinds, way)
        fills[i] = bool(own.any())
        if fills[i]:
            mean = rows[own].mean(axis=0)
            # At full speed a megabyte keeps the radio awake for so long.
            functions[i, [0, 1 + i]] = 1 / mean[1 + i], 1.0
            functions[3 + i] = mean / mean[1 + i]
    return functions, (fills[0], fills[1])


def _filling(plan: BlockPlan, kinds: np.ndarray, way: str) -> np.ndarray:
    """Which blocks fill the link one way."""
    fills = [kind.direction == way and not kind.gap_s for kind in plan.kinds]
    return np.asarray(np.array(fills)[kinds])


def _most(rows: np.ndarray, watts: np.ndarray, kinds: np.ndarray, column: int) -> float:
    """What one of a column would cost, had it caused all that the kind drew that has most of it."""
    means = [(rows[kinds == k, column].mean(), watts[kinds == k].mean()) for k in np.unique(kinds)]
    if column == 3:
        # Of frames that hold little; others are better told by their bytes.
        full = [(rows[kinds == k, 1] + rows[kinds == k, 2]).mean() for k in np.unique(kinds)]
        small = [(m, w) for (m, w), mb in zip(means, full, strict=True) if mb < _SMALL_MB * m]
        means = small or means
    most, drawn_w = max(means)
    return abs(float(drawn_w)) / float(most) if most else 0.0


def _told(fit: BlockFit, row: int, scale: float, blocks: int) -> Told:
    """A figure, if it is one."""
    value, half = float(fit.value[row]), float(fit.half[row])
    if not np.isfinite(half):
        return Told(None, "these blocks cannot tell it from the others")
    if value - half <= 0:
        most = max(value + half, 0.0)
        return Told(None, f"it cannot be told from nothing, and is at most {most:.3g}")
    if half > _WIDEST * scale:
        return Told(None, f"its interval is too wide, {value - half:.3g} to {value + half:.3g}")
    return Told(Figure(value, value - half, value + half, blocks))


def _drawn(plan: BlockPlan, kinds: np.ndarray, watts: np.ndarray, way: str) -> Told:
    """Mean power of the blocks that fill the link one way."""
    figure = student(watts[_filling(plan, kinds, way)].tolist())
    if figure is None:
        return Told(None, f"no block {_VERBS[_WAYS.index(way)]} as fast as the link takes it")
    if figure.low is None or figure.low <= 0:
        return Told(None, f"it cannot be told from nothing, and is at most {figure.high:.3g}")
    return Told(figure)


def _kinds(
    plan: BlockPlan, kinds: np.ndarray, watts: np.ndarray, fit: BlockFit
) -> tuple[KindSeen, ...]:
    return tuple(
        KindSeen(
            name=str(plan.kinds[kind]),
            blocks=int(np.sum(kinds == kind)),
            above_idle_w=float(np.mean(watts[kinds == kind])),
            fitted_w=float(np.mean((watts - fit.left)[kinds == kind])),
        )
        for kind in np.unique(kinds)
    )
