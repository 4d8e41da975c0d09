"""The tables of a rate experiment, the same in the terminal and in HTML."""

from __future__ import annotations

from collections.abc import Sequence

from slfac.testbed.experiment.points import BASELINE
from slfac.testbed.experiment.stats import Spread
from slfac.testbed.rate.summary import Best, CodecSummary
from slfac.testbed.report.units import human_bytes, human_seconds

Table = tuple[list[str], list[list[str]]]
NOTE = (
    "Accuracy: mean ± standard deviation over the seeds. Less none: the mean difference to none "
    "with the same seed, in percentage points ± half its 95 % interval (Student's t). Bytes: every "
    "frame of every message at the socket API, headers, labels and fronts included, all devices "
    "and both directions together; 1 kB is 1000 bytes. Smaller: mean bytes of none over the "
    "codec's. Bits a value: what the codec wrote, its own headers included, up / down. s: seconds "
    "of training and evaluation. A star marks the Pareto front."
)
TARGET_NOTE = (
    "Until the end of the first round that scored the target; the evaluation of each round is in "
    "the seconds. A dash: not every run got there."
)


def rate_table(summary: Sequence[CodecSummary]) -> Table:
    """One row a codec, fewest bytes last.

    Args:
        summary: The codecs.

    Returns:
        Headings and rows.
    """
    columns = ["codec", "accuracy, %", "less none, pp", "bytes", "smaller", "bits a value", "s"]
    rows = [
        [
            entry.codec + (" *" if entry.on_front else ""),
            plus_minus(entry.accuracy),
            _difference(entry),
            human_bytes(entry.total_bytes.mean),
            f"{entry.ratio:.1f}x",
            f"{entry.bits_per_value_up:.3g} / {entry.bits_per_value_down:.3g}",
            f"{entry.seconds.mean:.0f}",
        ]
        for entry in sorted(summary, key=lambda entry: -entry.total_bytes.mean)
    ]
    return columns, rows


def wire_line(summary: Sequence[CodecSummary]) -> str:
    """How the bytes of the table compare with those on TCP, in one line.

    Args:
        summary: The codecs, at least one.
    """
    more = [
        100 * (entry.wire_bytes_up.mean + entry.wire_bytes_down.mean) / entry.total_bytes.mean - 100
        for entry in summary
    ]
    least, most = (f"{value:.2g}" for value in (min(more), max(more)))
    span = least if least == most else f"{least} to {most}"
    return f"Bytes are those at the socket API; on TCP it is {span} % more, as computed."


def target_table(summary: Sequence[CodecSummary], target: float) -> Table:
    """One row a codec: seconds and bytes to a target accuracy.

    Args:
        summary: The codecs, with ``to_target``.
        target: The accuracy in per cent.

    Returns:
        Headings and rows.
    """
    rows = []
    for entry in summary:
        goal = entry.to_target
        if goal is not None:
            rows.append(
                [
                    entry.codec,
                    f"{goal.reached} of {len(entry.seeds)}",
                    human_seconds(goal.seconds.mean) if goal.seconds else "-",
                    human_bytes(goal.bytes.mean) if goal.bytes else "-",
                    plus_minus(entry.accuracy),
                ]
            )
    return ["codec", f"reached {target:g} %", "time", "bytes", "final accuracy, %"], rows


def best_table(summary: Sequence[CodecSummary], best: dict[str, Best]) -> Table:
    """One row a family: its best setting, and whether even that loses more than wanted.

    Args:
        summary: The codecs.
        best: Family -> its best setting.

    Returns:
        Headings and rows.
    """
    by_label = {entry.codec: entry for entry in summary}
    rows = []
    for family, chosen in best.items():
        entry = by_label[chosen.codec]
        shown = entry.codec if chosen.within else f"{entry.codec} (loses more)"
        rows.append([family, shown, _difference(entry), f"{entry.ratio:.1f}x"])
    return ["family", "best setting", "less none, pp", "smaller"], rows


def plus_minus(accuracy: Spread) -> str:
    """A mean accuracy with its standard deviation, in per cent.

    Args:
        accuracy: Both, in [0, 1].
    """
    mean = f"{accuracy.mean * 100:.1f}"
    return mean if accuracy.std is None else f"{mean} ± {accuracy.std * 100:.1f}"


def _difference(entry: CodecSummary) -> str:
    if entry.family == BASELINE:
        return "-"
    value = entry.difference_pp
    mean = f"{value.mean:+.2f}"
    if value.low is None or value.high is None:
        return mean
    return f"{mean} ± {(value.high - value.low) / 2:.2f}"
