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

Sources = dict[str, int]


def plan_document(plan: Plan, *, command: str, date: str) -> dict[str, Any]:
    """A plan as JSON values.

    Args:
        plan: The plan.
        command: The command line.
        date: When it was made.
    """
    settings, board = plan.settings, plan.machine.profile.board
    sources: dict[str, int] = {}
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
        "candidates": [_candidate(candidate, sources) for candidate in plan.candidates],
        "least": {
            verdict.goal: {
                "separated": verdict.separated,
                "best": verdict.best,
                "remaining": list(verdict.remaining),
            }
            for verdict in plan.verdicts
        },
        "said": list(sentences(plan)),
        # What `source` counts from 0 in: each text once, in the order in which they came up.
        "sources": list(sources),
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


def _candidate(candidate: Candidate, sources: Sources) -> dict[str, Any]:
    load = candidate.load
    return {
        "cut": candidate.cut,
        "codec": candidate.codec,
        "on_front": candidate.on_front,
        "tensor_bytes": load.tensor_bytes,
        "front_bytes": load.front_bytes,
        "server_ms": _guess(load.server_ms, sources),
        "phases": {
            phase.name: {"ms": _guess(phase.ms, sources), "joules": _guess(phase.joules, sources)}
            for phase in candidate.step.phases
        },
        "step": _prediction(candidate.step, sources),
        "round": _prediction(candidate.round, sources),
        "run": _prediction(candidate.run, sources),
    }


def _prediction(prediction: Prediction, sources: Sources) -> dict[str, Any]:
    return {
        "ms": _guess(prediction.ms, sources, terms=False),
        "joules": _guess(prediction.joules, sources, terms=False),
        "up_bytes": _guess(prediction.up_bytes, sources),
        "down_bytes": _guess(prediction.down_bytes, sources),
        "peak_mib": _guess(prediction.peak_mib, sources),
    }


def _guess(guess: Guess, sources: Sources, *, terms: bool = True) -> dict[str, Any]:
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
                "source": _number(term.source, sources),
            }
            for term in guess.terms
        ]
    elif terms:
        found["source"] = _number(guess.source, sources)
    return found


def _number(source: str, sources: Sources) -> int:
    return sources.setdefault(source, len(sources))


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
