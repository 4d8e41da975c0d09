"""Models of what a phase takes, of which the one that predicts unseen fronts best was chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from slfac.hw_profiles.fit import Timed, fit_phase
from slfac.hw_profiles.nnls import nnls
from slfac.hw_profiles.work import PRODUCTS, FrontPhase, work_of

Predict = Callable[[Timed], float]
Fit = Callable[[Sequence[Timed], FrontPhase], Predict]
_STARTS = (0.02, 0.1, 0.5)
_TURNS = 30
_TINY = 1e-15
Part = tuple[int, float, float]


def additive(fronts: Sequence[Timed], phase: FrontPhase) -> Predict:
    """A sum with a speed for each kind of product: what profiles have."""
    fit = fit_phase(fronts, phase)
    return lambda front: fit.predict_ms(work_of(front.costs, front.batch, phase))


def one_speed(fronts: Sequence[Timed], phase: FrontPhase) -> Predict:
    """A sum with one speed for all products, and one for bytes."""

    def row(front: Timed) -> list[float]:
        work = work_of(front.costs, front.batch, phase)
        return [1.0, work.gflop, work.gb]

    rows = np.array([row(front) for front in fronts])
    found = nnls(rows / _times(fronts, phase)[:, None], np.ones(len(fronts)))
    return lambda front: float(np.dot(row(front), found))


def roof_line(fronts: Sequence[Timed], phase: FrontPhase) -> Predict:
    """``t0 + max(FLOP / F, bytes / B)`` of the whole front."""

    def parts(front: Timed) -> list[Part]:
        work = work_of(front.costs, front.batch, phase)
        return [(0, work.gflop, work.gb)]

    return _roof(parts, 1, fronts, phase)


def layer_roof_line(fronts: Sequence[Timed], phase: FrontPhase) -> Predict:
    """The same layer by layer, with a speed for each kind of product."""

    def parts(front: Timed) -> list[Part]:
        way = "forward" if phase == "forward" else "backward"
        found = []
        for layer in front.costs.layers:
            kind = PRODUCTS.index(layer.kind) if layer.kind in PRODUCTS else 0
            flop = 1e-9 * front.batch * getattr(layer, f"{way}_flop")
            moved = front.batch * getattr(layer, f"{way}_bytes") + layer.weight_bytes
            found.append((kind, flop, 1e-9 * moved))
        return found

    return _roof(parts, len(PRODUCTS), fronts, phase)


CANDIDATES: dict[str, Fit] = {
    "sum, a speed a kind": additive,
    "sum, one speed": one_speed,
    "roof line of the front": roof_line,
    "roof line of each layer": layer_roof_line,
}


def _roof(
    parts: Callable[[Timed], list[Part]], kinds: int, fronts: Sequence[Timed], phase: FrontPhase
) -> Predict:
    """Least squares, with each part at what bounds it, in turns until that holds.

    From several starts, as the best of these is not found from all.
    """
    times = _times(fronts, phase)
    listed = [parts(front) for front in fronts]

    def predict(found: np.ndarray, of: list[Part]) -> float:
        start, *products, moving = np.maximum(found, _TINY).tolist()
        bounds = (max(flop * products[kind], moved * moving) for kind, flop, moved in of)
        return float(start + sum(bounds))

    best = (np.inf, np.zeros(kinds + 2))
    for start in _STARTS:
        found = np.array([0.0, *[start] * kinds, 1.0])
        for _ in range(_TURNS):
            rows = np.zeros((len(fronts), kinds + 2))
            rows[:, 0] = 1.0
            for row, of in zip(rows, listed, strict=True):
                for kind, flop, moved in of:
                    bound = flop * found[1 + kind] >= moved * found[-1]
                    row[1 + kind if bound else -1] += flop if bound else moved
            found = np.maximum(nnls(rows / times[:, None], np.ones(len(times))), _TINY)
            made = np.array([predict(found, of) for of in listed])
            error = float(np.sum((made / times - 1) ** 2))
            if error < best[0]:
                best = (error, found)
    return lambda front: predict(best[1], parts(front))


def _times(fronts: Sequence[Timed], phase: FrontPhase) -> np.ndarray:
    return np.array([getattr(front, f"{phase}_ms") for front in fronts])
