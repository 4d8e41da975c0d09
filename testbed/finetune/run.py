"""Fine-tunes published models: export, then train through real processes and sockets."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from slfac.data.idx_folder import read_idx_split
from slfac.export import export_bundle
from slfac.testbed.collect import collect
from slfac.testbed.finetune.cases import Case, Task, efficientnet, fetch_classifier, text
from slfac.testbed.local import LocalRun, run_local
from slfac.testbed.progress import RunProgress
from slfac.testbed.report import RunReport
from slfac.testbed.write import replace_file
from slfac.wire.errors import RunError, SettingsError

_BATCH = 50


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """What to do.

    Attributes:
        case: Which model and images.
        data: An IDX folder of grey images for ``efficientnet``; None for MNIST digits.
        out: Folder of bundles, images and runs.
        devices: Number of device processes.
        rounds: Rounds to train, each one pass over the images.
        batch_size: Samples that a device puts into one step.
        optimizer: Spec of both halves' optimisers.
        codec: Spec of the codec of both directions.
        train: Images to train on.
        test: Images to test on.
        seeds: One run of each variant a seed.
        result: Where all figures go as JSON; None for nowhere.
        command: The command line, for the result.
    """

    case: Case = "efficientnet"
    data: Path | None = None
    out: Path = Path("runs/finetune")
    devices: int = 2
    rounds: int = 3
    batch_size: int = 32
    optimizer: str = "sgd:lr=0.01,momentum=0.9"
    codec: str = "slfac"
    train: int = 4000
    test: int = 1000
    seeds: tuple[int, ...] = (0,)
    result: Path | None = None
    command: str = ""


class FinetuneRun(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        variant: What it began with.
        seed: Its seed.
        before: Accuracy of the published model as it came, where it has these classes.
        accuracy: Accuracy at the end.
        accuracy_by_round: Accuracy after each round.
        report: Everything else.
    """

    variant: str
    seed: int
    before: float | None
    accuracy: float
    accuracy_by_round: list[float]
    report: RunReport


def run_finetune(settings: FinetuneSettings, console: Console) -> list[FinetuneRun]:
    """Fine-tune every variant with every seed, show and write the figures.

    Args:
        settings: What to do.
        console: Where to show it.

    Returns:
        One entry a run.

    Raises:
        SlfacError: A branch of it, which says what failed.
    """
    _check(settings)
    runs = []
    for seed in settings.seeds:
        task = _task(settings, seed, console)
        before = _published_accuracy(task, console) if settings.case == "text" else None
        for variant, arguments in task.variants.items():
            name = f"{settings.case}-{variant}-seed{seed}"
            console.print(f"exporting and training {name}", highlight=False)
            bundle = export_bundle(**arguments, out=settings.out / "bundles" / name).bundle
            run = _local_run(settings, bundle.path, task.data, name, seed)
            with RunProgress(console, variant, rounds=run.rounds, devices=run.devices) as progress:
                events = run_local(run, progress.on_event)
            report, points = collect(events, dataset=task.dataset)
            by_round = [point.accuracy for point in points if point.accuracy is not None]
            if len(by_round) < len(points):
                raise RunError("a round was not evaluated", f"see {run.out / 'logs'}")
            runs.append(FinetuneRun(variant, seed, before, by_round[-1], by_round, report))
    _show(runs, console)
    if settings.result is not None:
        _write(runs, settings)
        console.print(f"results: {settings.result}", highlight=False, soft_wrap=True)
    return runs


def _check(settings: FinetuneSettings) -> None:
    least = {"devices": 1, "rounds": 1, "batch_size": 2, "train": 100, "test": 10}
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise SettingsError(f"{name} is {getattr(settings, name)}", f"give at least {bound}")
    if settings.case == "text" and settings.data is not None:
        raise SettingsError("the case text draws its own images", "leave out --data")


def _task(settings: FinetuneSettings, seed: int, console: Console) -> Task:
    samples = {"train": settings.train, "test": settings.test}

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    if settings.case == "text":
        return text(settings.out, samples=samples, seed=seed, say=say)
    return efficientnet(settings.data, settings.out, samples=samples, seed=seed, say=say)


def _published_accuracy(task: Task, console: Console) -> float:
    """What the file itself makes of the test images, in onnxruntime."""
    path = fetch_classifier(lambda line: console.print(line, highlight=False))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images, labels = read_idx_split(task.data, "test")
    (entry,) = session.get_inputs()
    hits = 0
    for start in range(0, len(images), _BATCH):
        x = (images[start : start + _BATCH].astype(np.float32) / 255 - 0.5) / 0.5
        (scores,) = session.run(None, {entry.name: x})
        hits += int((scores.argmax(1) == labels[start : start + _BATCH]).sum())
    return hits / len(images)


def _local_run(
    settings: FinetuneSettings, bundle: Path, data: Path, name: str, seed: int
) -> LocalRun:
    return LocalRun(
        bundle=bundle,
        data=data,
        out=settings.out / "runs" / name,
        devices=settings.devices,
        rounds=settings.rounds,
        steps_per_round=0,
        batch_size=settings.batch_size,
        optimizer=settings.optimizer,
        codec_up=settings.codec,
        codec_down=settings.codec,
        partition="iid",
        seed=seed,
    )


def _show(runs: Sequence[FinetuneRun], console: Console) -> None:
    table = Table("weights", "seed", "before", "accuracy by round", "MB up", "MB down")
    for run in runs:
        table.add_row(
            run.variant,
            str(run.seed),
            "-" if run.before is None else f"{100 * run.before:.1f} %",
            " ".join(f"{100 * accuracy:.1f} %" for accuracy in run.accuracy_by_round),
            f"{run.report.bytes_up / 1e6:.1f}",
            f"{run.report.bytes_down / 1e6:.1f}",
        )
    console.print(table)


def _write(runs: Sequence[FinetuneRun], settings: FinetuneSettings) -> None:
    first = runs[0].report
    summary = []
    for variant in dict.fromkeys(run.variant for run in runs):
        values = [run.accuracy for run in runs if run.variant == variant]
        spread = statistics.stdev(values) if len(values) > 1 else None
        summary.append(
            {"variant": variant, "accuracy": {"mean": statistics.fmean(values), "std": spread}}
        )
    result = {
        "command": settings.command,
        "date": first.date,
        "machine": first.machine,
        "versions": first.versions,
        "summary": summary,
        "runs": [_plain(run) for run in runs],
    }
    if settings.result is not None:
        replace_file(settings.result, json.dumps(result, indent=1).encode() + b"\n")


def _plain(run: FinetuneRun) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(run)
    report = values.pop("report")
    # A report leaves figures of rounds to the files of its own run.
    for elsewhere in ("machine", "versions", "by_round", "loss_by_round"):
        report.pop(elsewhere, None)
    return {**report, **values}
