"""Measures a device's training step beside torch's: time, residuals, memory."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console

from slfac.export import export_bundle
from slfac.testbed.bench.front_steps import LOW_MEMORY, DeviceStep, Step
from slfac.testbed.bench.front_table import print_fronts
from slfac.testbed.bench.front_torch import TorchStep
from slfac.testbed.bench.progress import moving_bar
from slfac.testbed.bench.result import now, write_measurements
from slfac.wire.bundle import Bundle
from slfac.wire.errors import RunError, SettingsError

TORCH, DEFAULT, RECOMPUTE = "torch", "slfac", "recompute"
_WAYS = (TORCH, DEFAULT, RECOMPUTE, LOW_MEMORY)
_CLASSES = 10
_MAX_BATCH = 1024
_MAX_REPEAT = 10_000
_MEMORY_STEPS = 6


@dataclass(frozen=True)
class FrontCase:
    """A front that is measured."""

    model: str
    cut: str
    input_shape: tuple[int, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


FRONTS = {
    "cnn-pool1": FrontCase("cnn", "pool1", (1, 28, 28)),
    "cnn-conv2": FrontCase("cnn", "conv2", (1, 28, 28)),
    "resnet18": FrontCase("resnet18", "layer1", (3, 64, 64), {"stem": "imagenet"}),
    "resnet18-cifar": FrontCase("resnet18", "layer1", (3, 32, 32)),
    "mobilenet_v2": FrontCase("mobilenet_v2", "features.5", (3, 64, 64)),
    "vit": FrontCase("vit", "blocks.1", (3, 64, 64), {"depth": 3, "patch": 8}),
}


class FrontMeasurement(Struct, frozen=True, kw_only=True):
    """One way of taking a front's training step.

    Attributes:
        front: Name of the front.
        way: ``torch``; ``slfac``: as a device does by default; ``recompute``: with a bundle
            that was exported so; ``low memory``: with that setting of the device.
        forward_ms: Least processor time from the batch to the smashed data.
        backward_ms: The same of the gradients.
        update_ms: The same of SGD with momentum.
        step_ms: The same of all three; not their sum, as each has its own least.
        ratio: ``step_ms`` over torch's.
        held_bytes: What is held between forward and backward, the weights excepted; None
            of torch.
        peak_rss_bytes: Most memory of a process that does nothing else.
    """

    front: str
    way: str
    forward_ms: float
    backward_ms: float
    update_ms: float
    step_ms: float
    ratio: float
    held_bytes: int | None
    peak_rss_bytes: int


@dataclass(frozen=True, kw_only=True)
class FrontBenchSettings:
    """What to measure.

    Attributes:
        fronts: Names of :data:`FRONTS`; none takes all.
        batch_size: Samples of a step.
        repeat: How many timings to take the best of.
        json: File to write all figures to; None for none.
        command: The command line, for that file.
    """

    fronts: tuple[str, ...] = ()
    batch_size: int = 16
    repeat: int = 30
    json: Path | None = None
    command: str = ""


def run_front_bench(settings: FrontBenchSettings, console: Console) -> list[FrontMeasurement]:
    """Export the fronts, measure, print a table, and write the JSON file.

    Args:
        settings: What to measure.
        console: Where to show it.

    Returns:
        The figures, front by front.

    Raises:
        SettingsError: A setting is out of range.
        ExportError: A front cannot be exported.
        RunError: A measuring process failed, or the JSON file cannot be written.
    """
    names = _checked(settings)
    date = now()
    found: list[FrontMeasurement] = []
    with (
        tempfile.TemporaryDirectory(prefix="slfac-bench-") as folder,
        moving_bar(console, "bench", total=len(names)) as advance,
    ):
        for name in names:
            found += measure_front(
                name, Path(folder), batch=settings.batch_size, repeat=settings.repeat
            )
            advance(name)
    print_fronts(found, console)
    facts = {
        "threads": 1,
        "seed": 0,
        "batch_size": settings.batch_size,
        "repeat": settings.repeat,
        "fronts": {name: msgspec.to_builtins(FRONTS[name]) for name in names},
    }
    write_measurements(settings, found, date=date, facts=facts, console=console)
    return found


def _checked(settings: FrontBenchSettings) -> Sequence[str]:
    unknown = [name for name in settings.fronts if name not in FRONTS]
    if unknown:
        raise SettingsError(f"setting fronts holds {unknown[0]!r}", f"use {', '.join(FRONTS)}")
    for name, most in (("batch_size", _MAX_BATCH), ("repeat", _MAX_REPEAT)):
        value = getattr(settings, name)
        if not 1 <= value <= most:
            raise SettingsError(f"setting {name} is {value}", f"use 1 to {most}")
    return tuple(dict.fromkeys(settings.fronts)) or tuple(FRONTS)


def measure_front(name: str, folder: Path, *, batch: int, repeat: int) -> list[FrontMeasurement]:
    """Measure all ways of one front; in time they take turns, so that all see the same machine.

    Args:
        name: One of :data:`FRONTS`.
        folder: Where its bundles are written.
        batch: Samples of a step.
        repeat: How many timings to take the best of.

    Returns:
        One measurement a way.

    Raises:
        ExportError: The front cannot be exported.
        RunError: A measuring process failed.
    """
    bundles = {
        recompute: _export(FRONTS[name], folder / f"{name}-{recompute:d}", recompute)
        for recompute in (False, True)
    }
    steps = {way: _step(way, bundles[way == RECOMPUTE], batch) for way in _WAYS}
    best = _race(list(steps.values()), repeat)
    torch_ms = best[0][-1]
    found = []
    for (way, step), times in zip(steps.items(), best, strict=True):
        found.append(
            FrontMeasurement(
                front=name,
                way=way,
                **dict(zip(_TIMES, (round(ms, 4) for ms in times), strict=True)),
                ratio=round(times[-1] / torch_ms, 4),
                held_bytes=getattr(step, "held_bytes", None),
                peak_rss_bytes=_peak_rss_bytes(way, bundles[way == RECOMPUTE], batch),
            )
        )
    return found


_TIMES = ("forward_ms", "backward_ms", "update_ms", "step_ms")


def _step(way: str, bundle: Bundle, batch: int) -> Step:
    if way == TORCH:
        return TorchStep(bundle, batch)
    return DeviceStep(bundle, batch, low_memory=way == LOW_MEMORY)


def _export(case: FrontCase, out: Path, recompute: bool) -> Bundle:
    return export_bundle(
        model=case.model,
        kwargs=case.kwargs,
        cut=case.cut,
        input_shape=case.input_shape,
        num_classes=_CLASSES,
        recompute=recompute,
        out=out,
    ).bundle


def _race(steps: Sequence[Step], repeat: int) -> list[list[float]]:
    """Least processor time of each step's parts and of the whole, in ms."""
    best = [[math.inf] * len(_TIMES) for _ in steps]
    for _ in range(repeat):
        for index, step in enumerate(steps):
            _times(step)  # brings its data and code back into the caches
            best[index] = [*map(min, best[index], _times(step))]
    return best


def _times(step: Step) -> list[float]:
    marks = [time.process_time()]
    for part in (step.forward, step.backward, step.update):
        part()
        marks.append(time.process_time())
    parts = [after - before for before, after in itertools.pairwise(marks)]
    return [1000 * seconds for seconds in (*parts, marks[-1] - marks[0])]


def _peak_rss_bytes(way: str, bundle: Bundle, batch: int) -> int:
    module = "front_torch" if way == TORCH else "front_steps"
    command = [
        sys.executable,
        "-m",
        f"slfac.testbed.bench.{module}",
        way,
        str(bundle.path),
        str(batch),
    ]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(  # noqa: S603 - a module of ours
        [*command, str(_MEMORY_STEPS)],
        env={**os.environ, **one_thread},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunError(f"the process that measures memory failed: {last}")
    return int(done.stdout)
