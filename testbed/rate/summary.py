"""What the runs of an experiment say about each codec."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, structs

from slfac.testbed.collect import machine, versions
from slfac.testbed.experiment.points import BASELINE, CodecPoint
from slfac.testbed.experiment.record import RunRecord
from slfac.testbed.experiment.stats import Difference, Spread, paired_difference, spread
from slfac.testbed.rate.plan import RatePlan


class ToTarget(Struct, frozen=True, kw_only=True):
    """How soon a codec's runs got to the target accuracy.

    Attributes:
        reached: Runs that did; the means are None unless it is all of them.
        seconds: Until the end of the first round that scored at least the target.
        bytes: Both directions, until then.
    """

    reached: int
    seconds: Spread | None
    bytes: Spread | None


class CodecSummary(Struct, frozen=True, kw_only=True):
    """One codec over all seeds.

    Attributes:
        codec: The codecs as the user wrote them.
        codec_up: Canonical spec of the smashed data's codec.
        codec_down: Canonical spec of the gradients' codec.
        family: Names of the codecs, without their fields.
        seeds: Seeds that were run.
        accuracy: After the last round, in [0, 1].
        difference_pp: Accuracy less that of ``none`` with the same seed, in percentage points.
        total_bytes: Both directions, every frame of every message at the socket API.
        bytes_up: Devices to server.
        bytes_down: Server to devices.
        wire_bytes_up: ``bytes_up`` on TCP, with ZMTP's framing and CURVE's encryption, as
            computed from the sizes of the messages.
        wire_bytes_down: Likewise.
        payload_bytes_up: What the codec wrote of it.
        payload_bytes_down: Likewise.
        bits_per_value_up: Payload bits a value of the smashed data.
        bits_per_value_down: Payload bits a value of the gradients.
        ratio: Mean total bytes of ``none`` with the same seeds, over this codec's.
        wire_ratio: The same of the bytes on TCP.
        seconds: Training and evaluation.
        on_front: Whether no other codec has more accuracy for as few bytes, or fewer bytes
            for as much; by the means.
        to_target: How soon it got to the target; None without one.
    """

    codec: str
    codec_up: str
    codec_down: str
    family: str
    seeds: tuple[int, ...]
    accuracy: Spread
    difference_pp: Difference
    total_bytes: Spread
    bytes_up: Spread
    bytes_down: Spread
    wire_bytes_up: Spread
    wire_bytes_down: Spread
    payload_bytes_up: Spread
    payload_bytes_down: Spread
    bits_per_value_up: float
    bits_per_value_down: float
    ratio: float
    wire_ratio: float
    seconds: Spread
    on_front: bool
    to_target: ToTarget | None


class Best(Struct, frozen=True):
    """The best setting of a family.

    Attributes:
        codec: The codecs as the user wrote them.
        within: Whether its loss is within the bound; else it is the family's least.
    """

    codec: str
    within: bool


class Result(Struct, frozen=True, kw_only=True):
    """The result of an experiment.

    Attributes:
        command: The command line.
        date: When the result was put together.
        machine: What ran it.
        versions: Package -> version.
        plan: The settings.
        summary: One entry a codec.
        best: Of each family, the codec with the fewest bytes whose mean difference to
            ``none`` is within ``plan.best_within``, or the one with the least loss.
        failed: Runs that failed, and why.
        runs: All runs.
    """

    command: str
    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    plan: dict[str, Any]
    summary: tuple[CodecSummary, ...]
    best: dict[str, Best]
    failed: tuple[str, ...]
    runs: tuple[RunRecord, ...]


def summarise(
    plan: RatePlan, runs: Sequence[RunRecord], *, command: str, failed: Sequence[str]
) -> Result:
    """Put a result together.

    Args:
        plan: What was to be run.
        runs: The runs that finished.
        command: The command line.
        failed: Why others did not.

    Returns:
        The result; codecs without a seed that ``none`` has too are left out of its summary.
    """
    baseline = {run.seed: run for run in runs if run.codec_up == run.codec_down == BASELINE}
    summary = []
    for point in plan.points:
        mine = [
            run
            for run in runs
            if (run.codec_up, run.codec_down) == (point.up, point.down) and run.seed in baseline
        ]
        if mine:
            pairs = [baseline[run.seed] for run in mine]
            summary.append(_summary(point, mine, pairs, plan.target))
    front = pareto_front([(s.total_bytes.mean, s.accuracy.mean) for s in summary])
    return Result(
        command=command,
        date=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        machine=machine(),
        versions=versions(),
        plan=plan.model_dump(mode="json"),
        summary=tuple(
            structs.replace(entry, on_front=index in front) for index, entry in enumerate(summary)
        ),
        best=best_within(summary, plan.best_within),
        failed=tuple(failed),
        runs=tuple(runs),
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Which points nothing else beats.

    Args:
        points: Cost, of which less is better, and worth, of which more is better.

    Returns:
        Indices of points for which no other costs no more and is worth no less, one of the
        two strictly.
    """
    return {
        index
        for index, (cost, worth) in enumerate(points)
        if not any(a <= cost and b >= worth and (a, b) != (cost, worth) for a, b in points)
    }


def best_within(summary: Sequence[CodecSummary], loss_pp: float) -> dict[str, Best]:
    """Name the best setting of each family.

    Args:
        summary: The codecs.
        loss_pp: Which mean loss of accuracy against ``none`` to accept, in percentage points.

    Returns:
        Family -> the codec with the fewest bytes; of a family that always loses more, the one
        that loses least.
    """
    best = {}
    for family in dict.fromkeys(entry.family for entry in summary):
        settings = [entry for entry in summary if entry.family == family]
        within = [entry for entry in settings if entry.difference_pp.mean >= -loss_pp]
        if within:
            chosen = min(within, key=lambda entry: entry.total_bytes.mean)
        else:
            chosen = max(settings, key=lambda entry: entry.difference_pp.mean)
        best[family] = Best(chosen.codec, within=bool(within))
    return best


def to_target(run: RunRecord, target_percent: float) -> tuple[float, int] | None:
    """When a run first scored a target accuracy.

    Args:
        run: The run.
        target_percent: The accuracy, in per cent.

    Returns:
        Seconds since training began and bytes both ways, at the end of that round; None if
        it never did.
    """
    for point in run.by_round:
        if point.accuracy is not None and point.accuracy * 100 >= target_percent:
            return point.seconds, point.bytes_up + point.bytes_down
    return None


def _summary(
    point: CodecPoint,
    runs: Sequence[RunRecord],
    pairs: Sequence[RunRecord],
    target: float | None,
) -> CodecSummary:
    def over(value: Callable[[RunRecord], float]) -> Spread:
        return spread([value(run) for run in runs])

    def bits(payload: Callable[[RunRecord], int], values: Callable[[RunRecord], int]) -> float:
        return 8 * sum(map(payload, runs)) / sum(map(values, runs))

    total = over(lambda run: run.total_bytes)
    return CodecSummary(
        codec=point.label,
        codec_up=point.up,
        codec_down=point.down,
        family=point.family,
        seeds=tuple(run.seed for run in runs),
        accuracy=over(lambda run: run.accuracy),
        difference_pp=paired_difference(
            [100 * run.accuracy for run in runs], [100 * run.accuracy for run in pairs]
        ),
        total_bytes=total,
        bytes_up=over(lambda run: run.bytes_up),
        bytes_down=over(lambda run: run.bytes_down),
        wire_bytes_up=over(lambda run: run.wire_bytes_up),
        wire_bytes_down=over(lambda run: run.wire_bytes_down),
        payload_bytes_up=over(lambda run: run.payload_bytes_up),
        payload_bytes_down=over(lambda run: run.payload_bytes_down),
        bits_per_value_up=bits(lambda run: run.payload_bytes_up, lambda run: run.smashed_values),
        bits_per_value_down=bits(
            lambda run: run.payload_bytes_down, lambda run: run.gradient_values
        ),
        ratio=spread([run.total_bytes for run in pairs]).mean / total.mean,
        wire_ratio=spread(list(map(_wire_bytes, pairs))).mean / over(_wire_bytes).mean,
        seconds=over(lambda run: run.seconds),
        on_front=False,
        to_target=_to_target(runs, target) if target is not None else None,
    )


def _wire_bytes(run: RunRecord) -> int:
    return run.wire_bytes_up + run.wire_bytes_down


def _to_target(runs: Sequence[RunRecord], target: float) -> ToTarget:
    found = [when for run in runs if (when := to_target(run, target)) is not None]
    every = len(found) == len(runs)
    return ToTarget(
        reached=len(found),
        seconds=spread([seconds for seconds, _ in found]) if every else None,
        bytes=spread([count for _, count in found]) if every else None,
    )
