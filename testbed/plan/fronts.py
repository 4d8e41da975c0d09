"""Fronts of every cut of a model, timed as a device runs them."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slfac.device.profiling.steps import FrontSteps
from slfac.export import export_bundle, model_cuts
from slfac.wire.bundle import open_bundle
from slfac.wire.costs import Costs, read_costs
from slfac.wire.errors import RunError

CLASSES = 10
_WARM_UP = 1
_STEPS = 3
_OPTIMIZER = "sgd:lr=0.0001,momentum=0.9"


@dataclass(frozen=True)
class ModelCase:
    """A model all of whose cuts are timed.

    Attributes:
        model: Its name.
        input_shape: Shape of one sample.
    """

    model: str
    input_shape: tuple[int, ...]


MODELS = {
    "cnn": ModelCase("cnn", (1, 28, 28)),
    "resnet18": ModelCase("resnet18", (3, 32, 32)),
    "mobilenet_v2": ModelCase("mobilenet_v2", (3, 64, 64)),
}


@dataclass(frozen=True)
class TimedFront:
    """What a front's parts of a step take.

    Attributes:
        model: The model.
        cut: Where it is cut.
        index: Which of the model's cuts it is.
        batch: Samples of a step.
        costs: What the front costs.
        times_ms: Phase -> time in each sweep: the median of its steps.
    """

    model: str
    cut: str
    index: int
    batch: int
    costs: Costs
    times_ms: dict[str, list[float]]

    def median_ms(self, phase: str) -> float:
        """The median over sweeps.

        Args:
            phase: ``forward``, ``backward`` or ``update``.
        """
        return statistics.median(self.times_ms[phase])


def block_cuts(case: ModelCase) -> list[str]:
    """Cuts between the blocks of a model: one tensor crosses, at a module of at most two levels.

    Args:
        case: The model.

    Returns:
        Their names, in the model's order.
    """
    cuts = model_cuts(model=case.model, input_shape=case.input_shape, num_classes=CLASSES)
    one = [cut.name for cut in cuts if len(cut.smashed_shapes) == 1]
    return [name for name in one if name.count(".") <= 1 and ".add" not in name]


def export_fronts(names: Sequence[str], folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Export a front for each cut; those that stand there already are taken as they are.

    Args:
        names: Of :data:`MODELS`.
        folder: Where the bundles are written.
        say: Called with each bundle's name.

    Returns:
        Their folders, model by model.
    """
    found = []
    for name in names:
        case = MODELS[name]
        for cut in block_cuts(case):
            out = folder / f"{name}-{cut}"
            found.append(out)
            say(out.name)
            if not out.exists():
                export_bundle(
                    model=case.model,
                    cut=cut,
                    input_shape=case.input_shape,
                    num_classes=CLASSES,
                    prove=False,
                    out=out,
                )
    return found


def time_fronts(
    folders: Sequence[Path], batches: Sequence[int], sweeps: int, say: Callable[[str], None]
) -> list[TimedFront]:
    """Time fronts in sweeps over all of them, so that what disturbs the machine hits all alike.

    Times are of this process's processor, of one thread: those of a machine that has nothing else
    to do.

    Args:
        folders: Bundles.
        batches: Samples of a step.
        sweeps: How often everything is timed.
        say: Called with the name of what is timed.

    Returns:
        One an entry and batch size.

    Raises:
        BundleError: A bundle cannot be read.
        RunError: A bundle does not say what its front costs.
    """
    found = []
    counts: dict[str, int] = {}
    for path in folders:
        bundle = open_bundle(path)
        costs = read_costs(bundle)
        if costs is None:
            raise RunError(f"{path} has no costs.json", "delete it, so that it is exported again")
        index = counts.setdefault(bundle.manifest.model, 0)
        counts[bundle.manifest.model] += 1
        for batch in batches:
            times: dict[str, list[float]] = {phase: [] for phase in PHASES}
            front = TimedFront(
                bundle.manifest.model, bundle.manifest.cut, index, batch, costs, times
            )
            found.append((path, front))
    for sweep in range(sweeps):
        for path, front in found:
            say(f"sweep {sweep + 1}: {path.name} at {front.batch}")
            for phase, value in _timed(path, front.batch).items():
                front.times_ms[phase].append(value)
    return [front for _, front in found]


PHASES = ("forward", "backward", "update")


def _timed(path: Path, batch: int) -> dict[str, float]:
    step = FrontSteps(open_bundle(path), batch, threads=1, optimizer=_OPTIMIZER)
    parts = (step.forward, step.backward, step.update)
    rows = []
    for _ in range(_WARM_UP + _STEPS):
        marks = [time.process_time()]
        for part in parts:
            part()
            marks.append(time.process_time())
        rows.append([1e3 * (b - a) for a, b in itertools.pairwise(marks)])
    columns = zip(*rows[_WARM_UP:], strict=True)
    return dict(zip(PHASES, map(statistics.median, columns), strict=True))
