"""Measures what a simulation gains, and how well it agrees: the same run real and simulated."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct
from rich.console import Console

from slfac.export import export_bundle
from slfac.server.settings import TorchDevice
from slfac.testbed.bench.images import pattern_images
from slfac.testbed.bench.progress import moving_bar
from slfac.testbed.bench.result import now, write_measurements
from slfac.testbed.experiment.backend import Backend, ResolvedRun
from slfac.testbed.experiment.local import Local
from slfac.testbed.experiment.settings import RunSettings
from slfac.testbed.greyscale import MNIST_SCALING
from slfac.testbed.local import POLL_S, Event
from slfac.testbed.report.terminal import terminal_table
from slfac.testbed.simulate.backend import Simulated
from slfac.wire.errors import SettingsError

MODEL, CUT, INPUT_SHAPE = "cnn", "pool1", (1, 28, 28)
_CLASSES = 10
_ROUNDS = 3
_OPTIMIZER = "sgd:lr=0.02,momentum=0.9"
_COMPARED = 20
_COLUMNS = (
    *("codec", "real", "sim.", "gain", "CPU, real", "CPU, sim."),
    *("loss", "up", "down"),
)


class SimulateMeasurement(Struct, frozen=True, kw_only=True):
    """One run, real and simulated.

    Attributes:
        codec: Codec both ways.
        real_round_s: Mean of a round with processes and sockets, the first excepted.
        simulated_round_s: The same of the simulation.
        gain: The first over the second.
        real_s: The whole run, with the start of its processes.
        simulated_s: The same of the simulation.
        real_cpu_s: Processor time of all its processes, which other programs hardly change.
        simulated_cpu_s: The same of the simulation.
        loss: Largest difference of a training loss, over each device's first 20 steps. Later on
            differences in the last bits of float32 have grown.
        bytes_up: Bytes to the server, simulated over real, minus 1.
        bytes_down: Bytes to the devices, likewise.
    """

    codec: str
    real_round_s: float
    simulated_round_s: float
    gain: float
    real_s: float
    simulated_s: float
    real_cpu_s: float
    simulated_cpu_s: float
    loss: float
    bytes_up: float
    bytes_down: float


@dataclass(frozen=True, kw_only=True)
class SimulateBenchSettings:
    """What to measure.

    Attributes:
        codecs: Specs of the codecs, both ways.
        devices: Devices of a run.
        batch_size: Samples of a step.
        steps_per_round: Steps of a device in a round.
        torch_device: Where the server and the simulation compute.
        seed: Of weights, images and batches.
        json: File to write all figures to; None for none.
        command: The command line, for that file.
    """

    codecs: tuple[str, ...] = ("none", "slfac", "slfac-rd")
    devices: int = 5
    batch_size: int = 32
    steps_per_round: int = 20
    torch_device: TorchDevice = "auto"
    seed: int = 0
    json: Path | None = None
    command: str = ""


def run_simulate_bench(
    settings: SimulateBenchSettings, console: Console
) -> list[SimulateMeasurement]:
    """Measure, print a table, and write the JSON file.

    Args:
        settings: What to measure.
        console: Where to show it.

    Returns:
        The figures, codec by codec.

    Raises:
        SettingsError: A setting is out of range.
        RunError: A run failed, or the JSON file cannot be written.
    """
    if not 1 <= settings.steps_per_round <= 10**4:
        raise SettingsError(
            f"setting steps_per_round is {settings.steps_per_round}", "use 1 to 10000"
        )
    date = now()
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="slfac-bench-") as folder,
        moving_bar(console, "bench", total=len(settings.codecs)) as advance,
    ):
        bundle, data = _prepare(settings, Path(folder))
        for codec in settings.codecs:
            found.append(_measure(settings, codec, bundle, data, Path(folder)))
            advance(codec)
    _print(found, console)
    facts = {
        "model": MODEL,
        "cut": CUT,
        "input_shape": INPUT_SHAPE,
        "rounds": _ROUNDS,
        "devices": settings.devices,
        "batch_size": settings.batch_size,
        "steps_per_round": settings.steps_per_round,
        "torch_device": settings.torch_device,
        "seed": settings.seed,
    }
    write_measurements(settings, found, date=date, facts=facts, console=console)
    return found


def _prepare(settings: SimulateBenchSettings, folder: Path) -> tuple[Path, Path]:
    bundle = folder / "bundle"
    export_bundle(
        model=MODEL,
        kwargs={},
        cut=CUT,
        input_shape=INPUT_SHAPE,
        num_classes=_CLASSES,
        seed=settings.seed,
        out=bundle,
        preprocessing=MNIST_SCALING,
    )
    each = settings.batch_size * settings.steps_per_round
    data = pattern_images(
        folder / "images",
        size=INPUT_SHAPE[1:],
        classes=_CLASSES,
        train=each * settings.devices,
        test=100,
        seed=settings.seed,
    )
    return bundle, data


def _measure(
    settings: SimulateBenchSettings, codec: str, bundle: Path, data: Path, folder: Path
) -> SimulateMeasurement:
    chosen = RunSettings(
        model=MODEL,
        cut=CUT,
        data=str(data),
        devices=settings.devices,
        codec=codec,
        rounds=_ROUNDS,
        steps_per_round=settings.steps_per_round,
        batch_size=settings.batch_size,
        optimizer=_OPTIMIZER,
        torch_device=settings.torch_device,
        seed=settings.seed,
    )
    chosen.check()
    backends: tuple[Backend, Backend] = (Local(), Simulated())
    # The same for both: sums in another order drift apart where codecs are coarse.
    threads = max(1, len(os.sched_getaffinity(0)) - settings.devices)
    (real, ours), (simulated, theirs) = (
        _timed(
            backend,
            ResolvedRun(
                settings=chosen,
                bundle=bundle,
                data=data,
                device_data=(),
                out=folder / backend.name,
                threads=threads,
            ),
        )
        for backend in backends
    )
    real_round_s, simulated_round_s = _round_s(real), _round_s(simulated)
    bytes_up, bytes_down = (
        _last_round(simulated)[name] / _last_round(real)[name] - 1
        for name in ("bytes_up", "bytes_down")
    )
    return SimulateMeasurement(
        codec=codec,
        real_round_s=round(real_round_s, 4),
        simulated_round_s=round(simulated_round_s, 4),
        gain=round(real_round_s / simulated_round_s, 3),
        real_s=round(ours.wall_s, 3),
        simulated_s=round(theirs.wall_s, 3),
        real_cpu_s=round(ours.cpu_s, 3),
        simulated_cpu_s=round(theirs.cpu_s, 3),
        loss=largest_difference(real, simulated),
        bytes_up=bytes_up,
        bytes_down=bytes_down,
    )


def largest_difference(real: Sequence[Event], simulated: Sequence[Event]) -> float:
    """Largest difference of a training loss between two runs of the same settings.

    Args:
        real: Metrics of the one.
        simulated: Metrics of the other.

    Returns:
        It, over the first 20 steps of each device.
    """
    ours, theirs = _losses(real), _losses(simulated)
    return max(abs(ours[step] - theirs[step]) for step in ours | theirs)


def _losses(events: Sequence[Event]) -> dict[tuple[str, int], float]:
    steps = [event for event in events if event["event"] == "step"]
    first = [step for step in steps if step["step"] < _COMPARED]
    return {(step["device"], step["step"]): step["loss"] for step in first}


@dataclass(frozen=True)
class _Spent:
    wall_s: float
    cpu_s: float


def _timed(backend: Backend, run: ResolvedRun) -> tuple[list[Event], _Spent]:
    start_s, before_s = time.monotonic(), _cpu_s()
    steps = backend.steps(run, _silent)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, _Spent(time.monotonic() - start_s, _cpu_s() - before_s)
        time.sleep(POLL_S)


def _cpu_s() -> float:
    """Processor time of all processes that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _round_s(events: Sequence[Event]) -> float:
    """Mean of a round's time, but for the first, in which everything is slower."""
    seconds = [event["seconds"] for event in events if event["event"] == "round"][1:]
    return float(sum(seconds) / len(seconds))


def _last_round(events: Sequence[Event]) -> Event:
    return [event for event in events if event["event"] == "round"][-1]


def _print(found: Sequence[SimulateMeasurement], console: Console) -> None:
    title = "seconds a round, processor time; differences of losses and bytes"
    console.print(terminal_table(title, _COLUMNS, map(row, found), fold=0))


def row(m: SimulateMeasurement) -> tuple[str, ...]:
    """One measurement as the cells of a table.

    Args:
        m: The measurement.
    """
    return (
        m.codec,
        f"{m.real_round_s:.2f}",
        f"{m.simulated_round_s:.2f}",
        f"{m.gain:.2f}",
        f"{m.real_cpu_s:.1f}",
        f"{m.simulated_cpu_s:.1f}",
        f"{m.loss:.1e}",
        f"{m.bytes_up:+.3%}",
        f"{m.bytes_down:+.3%}",
    )


def _silent(event: dict[str, Any]) -> None:
    del event
