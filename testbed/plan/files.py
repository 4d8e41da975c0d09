"""Writes a plan: figures as JSON, a page, and the plot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slfac.hw_profiles.estimate import Guess, Unknown
from slfac.hw_profiles.predict import Prediction
from slfac.testbed.collect import machine, versions
from slfac.testbed.plan.plan import Candidate, Plan
from slfac.testbed.plan.plot import plan_figure
from slfac.testbed.plan.words import HEADER, explained, rows, sentences, subject
from slfac.testbed.write import replace_file


def plan_document(plan: Plan, *, command: str, date: str) -> dict[str, Any]:
    """A plan as JSON values.

    Args:
        plan: The plan.
        command: The command line.
        date: When it was made.
    """
    settings, board = plan.settings, plan.machine.profile.board
    return {
        "command": command,
        "date": date,
        "machine": machine(),
        "versions": versions(),
        "board": board.name,
        "mode": plan.machine.mode.name,
        "reference": plan.machine.reference and plan.machine.reference.board.name,
        "device": settings.device,
        "threads": settings.threads,
        "link": plan.path.name,
        "input": plan.given.source,
        "synthetic": plan.given.synthetic,
        "samples": plan.given.samples,
        "batch_size": settings.batch_size,
        "rounds": settings.rounds,
        "seed": settings.seed,
        "candidates": [_candidate(candidate) for candidate in plan.candidates],
        "least": {
            verdict.goal: {
                "separated": verdict.separated,
                "best": verdict.best,
                "remaining": list(verdict.remaining),
            }
            for verdict in plan.verdicts
        },
        "said": list(sentences(plan)),
    }


def write_plan(plan: Plan, folder: Path, *, command: str, date: str) -> list[Path]:
    """Write ``plan.json``, ``plan.md``, ``plan.svg`` and ``plan.png``.

    Args:
        plan: The plan.
        folder: Where.
        command: The command line.
        date: When it was made.

    Returns:
        The files.

    Raises:
        RunError: One cannot be written.
    """
    document = plan_document(plan, command=command, date=date)
    contents = {
        "plan.json": json.dumps(document, indent=1).encode() + b"\n",
        "plan.md": ("\n".join(_page(plan, command, date)) + "\n").encode(),
        "plan.svg": plan_figure(plan, kind="svg"),
        "plan.png": plan_figure(plan, kind="png"),
    }
    for name, data in contents.items():
        replace_file(folder / name, data)
    return [folder / name for name in contents]


def _candidate(candidate: Candidate) -> dict[str, Any]:
    load = candidate.load
    return {
        "cut": candidate.cut,
        "codec": candidate.codec,
        "on_front": candidate.on_front,
        "tensor_bytes": load.tensor_bytes,
        "front_bytes": load.front_bytes,
        "server_ms": _guess(load.server_ms),
        "phases": {
            phase.name: {"ms": _guess(phase.ms), "joules": _guess(phase.joules)}
            for phase in candidate.step.phases
        },
        "step": _prediction(candidate.step),
        "round": _prediction(candidate.round),
        "run": _prediction(candidate.run),
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {
        "ms": _guess(prediction.ms, terms=False),
        "joules": _guess(prediction.joules, terms=False),
        "up_bytes": _guess(prediction.up_bytes),
        "down_bytes": _guess(prediction.down_bytes),
        "peak_mib": _guess(prediction.peak_mib),
    }


def _guess(guess: Guess, *, terms: bool = True) -> dict[str, Any]:
    if isinstance(guess, Unknown):
        return {"unknown": guess.why}
    found: dict[str, Any] = {
        "value": _six(guess.value),
        "low": _six(guess.low),
        "high": _six(guess.high),
        "tier": guess.tier,
    }
    if guess.missing:
        found["at_least_without"] = list(guess.missing)
    if terms and guess.terms:
        found["terms"] = [
            {
                "what": term.what,
                "value": _six(term.value),
                "unit": term.unit,
                "tier": term.tier,
                "source": term.source,
            }
            for term in guess.terms
        ]
    elif terms:
        found["source"] = guess.source
    return found


def _six(number: float) -> float:
    return float(f"{number:.6g}")


def _page(plan: Plan, command: str, date: str) -> Iterator[str]:
    yield f"# Plan for {subject(plan)} on {plan.machine.profile.board.title}"
    yield ""
    for sentence in sentences(plan):
        yield f"- {_cell(sentence)}"
    yield ""
    yield f"Made by `{command}`, {date[:10]}."
    yield ""
    yield "![Pareto front](plan.svg)"
    yield ""
    yield from _table([HEADER, *rows(plan)])
    shown = next((c for c in plan.candidates if c.on_front), plan.candidates[0])
    yield ""
    yield f"## Where the figures of {shown.name} come from"
    yield ""
    yield from _table(list(explained(shown)))


def _table(cells: list[tuple[str, ...]]) -> Iterator[str]:
    head, *body = cells
    yield f"| {' | '.join(map(_cell, head))} |"
    yield "|" + "---|" * len(head)
    for row in body:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
