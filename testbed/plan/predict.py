"""Predicts half of the cuts from the other half, and compares with what was measured."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from rich.console import Console

from slfac.hw_profiles import write_profile
from slfac.hw_profiles.estimate import Estimate, Guess, total
from slfac.hw_profiles.fit import Timed, fit_phases
from slfac.hw_profiles.machine import Machine
from slfac.hw_profiles.schema import SCHEMA, Board, FrontCost, Mode, Profile, Provenance
from slfac.hw_profiles.work import FRONT_PHASES, FrontPhase
from slfac.testbed.bench.progress import moving_bar
from slfac.testbed.collect import machine, versions
from slfac.testbed.plan.candidates import CANDIDATES, Fit
from slfac.testbed.plan.fronts import MODELS, TimedFront, export_fronts, time_fronts
from slfac.testbed.plan.predict_page import predict_page
from slfac.testbed.plan.reference import reference_profile
from slfac.testbed.write import replace_file
from slfac.wire.bundle import open_bundle
from slfac.wire.costs import costs_id, read_costs
from slfac.wire.errors import SettingsError

_MAX_BATCH = 1024
_MAX_SWEEPS = 1000
_FACTS = (
    *("command", "date", "machine", "versions", "threads", "seed", "batch_sizes", "sweeps"),
    "models",
)
PARTS = (*FRONT_PHASES, "step")


class Score(Struct, frozen=True, kw_only=True):
    """How well some fronts were predicted.

    Attributes:
        test: What was predicted from what.
        part: Which phase; ``step`` is all three.
        fronts: How many fronts, each batch size counting.
        median: Median of the relative errors, regardless of their sign.
        largest: The largest of them.
        inside: How many were inside of their 95 % interval.
        spread: Half the width of these intervals, as a factor beyond one.
    """

    test: str
    part: str
    fronts: int
    median: float
    largest: float
    inside: int
    spread: float


class Choice(Struct, frozen=True, kw_only=True):
    """How well a model of time predicts fronts that it has not seen.

    Attributes:
        candidate: Its name.
        phase: Of what.
        median: Median of the relative errors, each cut left out once, regardless of their sign.
        rms: The root of the mean square of the logarithms of measured over predicted.
        other_model_rms: The same with each model left out once, all its cuts with it; None of a
            single model.
    """

    candidate: str
    phase: str
    median: float
    rms: float
    other_model_rms: float | None


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """What to measure.

    Attributes:
        models: Names of :data:`slfac.testbed.plan.fronts.MODELS`; none takes all.
        batch_sizes: Samples of a step.
        sweeps: How often everything is timed.
        bundles: Where exported fronts are kept for another time; None keeps none.
        times: A JSON file of an earlier run, whose times are taken; None to measure. Settings of
            what is measured are then that run's.
        json: File to write all figures to, beside it one for people (.md); None for neither.
        profile: File to write a profile of this machine to, for others to be carried over from;
            None for none.
        command: The command line, for that file.
    """

    models: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = (8, 32)
    sweeps: int = 5
    bundles: Path | None = None
    times: Path | None = None
    json: Path | None = None
    profile: Path | None = None
    command: str = ""


def run_predict_bench(settings: PredictSettings, console: Console) -> list[Score]:
    """Export the fronts, time them, predict half of them, and say how well.

    Args:
        settings: What to measure.
        console: Where to show it.

    Returns:
        The scores.

    Raises:
        SettingsError: A setting is out of range.
        ExportError: A front cannot be exported.
        RunError: The files cannot be written.
    """
    measured = _measured_now(settings, console) if settings.times is None else _earlier(settings)
    facts, timed, folders = measured
    scores, choices = evaluate(timed)
    result = {
        **facts,
        "scores": [msgspec.to_builtins(score) for score in scores],
        "choices": [msgspec.to_builtins(choice) for choice in choices],
        "phases": [msgspec.to_builtins(p) for p in fit_phases(_all(timed), source="all fronts")],
        "fronts": [_plain(front) for front in timed],
    }
    page = predict_page(result)
    console.print(page, highlight=False, markup=False)
    if settings.json is not None:
        replace_file(settings.json, json.dumps(result, indent=1).encode() + b"\n")
        replace_file(settings.json.with_suffix(".md"), page.encode())
    if settings.profile is not None:
        front_times = [(front, _timed(front)) for front in timed]
        write_profile(
            reference_profile(
                front_times,
                folders,
                name=settings.profile.stem,
                command=settings.command,
                date=facts["date"],
            ),
            settings.profile,
        )
        console.print(f"profile: {settings.profile}", highlight=False, soft_wrap=True)
    return scores


Facts = tuple[dict[str, Any], list[TimedFront], list[Path]]


def _measured_now(settings: PredictSettings, console: Console) -> Facts:
    names = _checked(settings)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    if settings.bundles is None and settings.profile is not None:
        raise SettingsError("--profile needs the fronts", "keep them: --bundles DIR")
    with tempfile.TemporaryDirectory(prefix="slfac-predict-") as temporary:
        folder = settings.bundles or Path(temporary)
        with moving_bar(console, "export", total=0) as say:
            folders = export_fronts(names, folder, say)
        count = len(folders) * len(settings.batch_sizes) * settings.sweeps
        with moving_bar(console, "time", total=count) as say:
            timed = time_fronts(folders, settings.batch_sizes, settings.sweeps, say)
    facts = {
        "command": settings.command,
        "date": date,
        "machine": machine(),
        "versions": versions(),
        "threads": 1,
        "seed": 0,
        "batch_sizes": list(settings.batch_sizes),
        "sweeps": settings.sweeps,
        "models": {name: msgspec.to_builtins(MODELS[name]) for name in names},
    }
    return facts, timed, folders


def _earlier(settings: PredictSettings) -> Facts:
    """What an earlier run measured, of fronts that are still there."""
    if settings.times is None or settings.bundles is None:
        raise SettingsError("--times needs the fronts of that run", "name them: --bundles DIR")
    try:
        found = json.loads(settings.times.read_bytes())
        timed, folders = [], []
        for entry in found["fronts"]:
            path = settings.bundles / f"{entry['model']}-{entry['cut']}"
            costs = read_costs(open_bundle(path))
            if costs is None or costs_id(costs) != entry["costs"]:
                raise SettingsError(f"{path} is not the front that was timed", "time it again")
            fields = {name: entry[name] for name in ("model", "cut", "index", "batch", "times_ms")}
            timed.append(TimedFront(costs=costs, **fields))
            folders.append(path)
        facts = {name: found[name] for name in _FACTS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"--times is {str(settings.times)!r}, which is no result: {error}",
            "name the --json file of an earlier run",
        ) from error
    return facts, timed, list(dict.fromkeys(folders))


def evaluate(timed: Sequence[TimedFront]) -> tuple[list[Score], list[Choice]]:
    """Predict fronts that a fit has not seen.

    Args:
        timed: All that were measured, of several models.

    Returns:
        Odd cuts predicted from even ones, and each model from the others; and how all models of
        time compare.
    """
    even = [front for front in timed if front.index % 2 == 0]
    odd = [front for front in timed if front.index % 2]
    scores = _scores("odd cuts from even cuts", even, odd)
    names = list(dict.fromkeys(front.model for front in timed))
    if len(names) > 1:
        for name in names:
            others = [front for front in timed if front.model != name]
            own = [front for front in timed if front.model == name]
            scores += _scores(f"{name} from the other models", others, own)
    choices = [
        _choice(candidate, fit, timed, phase)
        for phase in FRONT_PHASES[:2]
        for candidate, fit in CANDIDATES.items()
    ]
    return scores, choices


def _checked(settings: PredictSettings) -> Sequence[str]:
    unknown = [name for name in settings.models if name not in MODELS]
    if unknown:
        raise SettingsError(f"setting models holds {unknown[0]!r}", f"use {', '.join(MODELS)}")
    if not 1 <= settings.sweeps <= _MAX_SWEEPS:
        raise SettingsError(f"setting sweeps is {settings.sweeps}", f"use 1 to {_MAX_SWEEPS}")
    for batch in settings.batch_sizes:
        if not 1 <= batch <= _MAX_BATCH:
            raise SettingsError(f"setting batch_sizes holds {batch}", f"use 1 to {_MAX_BATCH}")
    if not settings.batch_sizes:
        raise SettingsError("setting batch_sizes is empty", "give one or more")
    return tuple(dict.fromkeys(settings.models)) or tuple(MODELS)


def _scores(test: str, seen: Sequence[TimedFront], unseen: Sequence[TimedFront]) -> list[Score]:
    board = _board(seen)
    found = []
    for part in PARTS:
        pairs = [(_predicted(board, front, part), _measured(front, part)) for front in unseen]
        known = [(guess, ms) for guess, ms in pairs if isinstance(guess, Estimate)]
        errors = [abs(guess.value / ms - 1) for guess, ms in known]
        found.append(
            Score(
                test=test,
                part=part,
                fronts=len(known),
                median=round(statistics.median(errors), 4),
                largest=round(max(errors), 4),
                inside=sum(guess.low <= ms <= guess.high for guess, ms in known),
                spread=round(statistics.median(g.high / g.value - 1 for g, _ in known), 4),
            )
        )
    return found


def _board(seen: Sequence[TimedFront]) -> Machine:
    """A board whose profile has these fronts' fit, and knows of which models they are."""
    phases = fit_phases(_all(seen), source="bench")
    mode = Mode(name="default", phases=phases, fronts=tuple(map(_named, seen)))
    made = Provenance(origin="measured", date="2026")
    board = Board(name="here", title="here")
    return Machine(Profile(schema=SCHEMA, board=board, provenance=made, modes=(mode,)), mode)


def _named(front: TimedFront) -> FrontCost:
    return FrontCost(model=front.model, cut=front.cut, device="cpu", batch=front.batch, threads=1)


def _predicted(board: Machine, front: TimedFront, part: str) -> Guess:
    def guess(phase: FrontPhase) -> Guess:
        return board.front_ms(front.costs, front.batch, phase, front.model)

    phases = [phase for phase in FRONT_PHASES if part in {phase, "step"}]
    return total(guess(phase) for phase in phases)


def _measured(front: TimedFront, part: str) -> float:
    return sum(front.median_ms(phase) for phase in FRONT_PHASES if part in {phase, "step"})


def _choice(candidate: str, fit: Fit, timed: Sequence[TimedFront], phase: FrontPhase) -> Choice:
    by_cut = _unseen(fit, timed, phase, lambda front: costs_id(front.costs))
    models = {front.model for front in timed}
    by_model = _unseen(fit, timed, phase, lambda front: front.model) if len(models) > 1 else None
    return Choice(
        candidate=candidate,
        phase=phase,
        median=round(float(np.median(np.abs(np.expm1(-by_cut)))), 4),
        rms=_rms(by_cut),
        other_model_rms=None if by_model is None else _rms(by_model),
    )


def _rms(values: np.ndarray) -> float:
    return round(float(np.sqrt(np.mean(values**2))), 4)


def _unseen(
    fit: Fit,
    timed: Sequence[TimedFront],
    phase: FrontPhase,
    group: Callable[[TimedFront], str],
) -> np.ndarray:
    """Logarithms of measured over predicted, each group left out once."""
    groups = [group(front) for front in timed]
    found = []
    for name in dict.fromkeys(groups):
        seen = [front for front, g in zip(timed, groups, strict=True) if g != name]
        predict = fit(_all(seen), phase)
        for front in (front for front, g in zip(timed, groups, strict=True) if g == name):
            least = 1e-3 * front.median_ms(phase)
            found.append(np.log(front.median_ms(phase) / max(predict(_timed(front)), least)))
    return np.array(found)


def _all(fronts: Sequence[TimedFront]) -> list[Timed]:
    return [_timed(front) for front in fronts]


def _timed(front: TimedFront) -> Timed:
    forward, backward, update = (front.median_ms(phase) for phase in FRONT_PHASES)
    return Timed(front.costs, front.batch, forward, backward, update, model=front.model)


def _plain(front: TimedFront) -> dict[str, Any]:
    return {
        "model": front.model,
        "cut": front.cut,
        "index": front.index,
        "batch": front.batch,
        "costs": costs_id(front.costs),
        "times_ms": {
            phase: [round(ms, 4) for ms in front.times_ms[phase]] for phase in FRONT_PHASES
        },
    }
