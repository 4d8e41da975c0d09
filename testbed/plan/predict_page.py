"""The figures of a prediction test, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def predict_page(result: dict[str, Any]) -> str:
    """Markdown of a result.

    Args:
        result: What the JSON file holds.

    Returns:
        The page.
    """
    return "\n".join(_lines(result)) + "\n"


def _lines(result: dict[str, Any]) -> Iterator[str]:
    machine = result["machine"]
    batches = " and ".join(map(str, result["batch_sizes"]))
    cuts = {(front["model"], front["cut"]) for front in result["fronts"]}
    yield "# Predicted and measured times of fronts"
    yield ""
    yield (
        f"{len(cuts)} cuts of {', '.join(result['models'])}, batches of {batches}, "
        f"{machine['processor']}, one thread, processor time, median of {result['sweeps']} sweeps, "
        f"{result['date'][:10]}. Made by `{result['command']}`."
    )
    yield ""
    yield "| Predicted | Part | Fronts | Median error | Largest | Inside 95 % | Interval x/÷ |"
    yield "|---|---|---|---|---|---|---|"
    for score in result["scores"]:
        yield (
            f"| {score['test']} | {score['part']} | {score['fronts']} | {score['median']:.1%} | "
            f"{score['largest']:.1%} | {score['inside']} of {score['fronts']} | "
            f"{1 + score['spread']:.2f} |"
        )
    yield ""
    yield "## Which model of time"
    yield ""
    yield "Each cut left out once; in the last column each model, with all its cuts."
    yield ""
    yield "| Phase | Model of time | Median error | RMS of log | RMS of log, unseen model |"
    yield "|---|---|---|---|---|"
    for choice in result["choices"]:
        other = choice["other_model_rms"]
        yield (
            f"| {choice['phase']} | {choice['candidate']} | {choice['median']:.1%} | "
            f"{choice['rms']:.3f} | {'' if other is None else f'{other:.3f}'} |"
        )
