"""The demo: real devices, real sockets, real images, all on this machine."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from slfac.codec import make_codec
from slfac.export import export_bundle
from slfac.server.live.live import Live, Shown
from slfac.testbed.collect import collect
from slfac.testbed.greyscale import MNIST_SCALING, describe_idx
from slfac.testbed.local import Event, LocalRun, run_local
from slfac.testbed.mnist5k import fetch_mnist5k
from slfac.testbed.progress import RunProgress
from slfac.testbed.report import RunReport, print_tables, write_comparison, write_report
from slfac.testbed.report.folders import ABOUT_NAME
from slfac.testbed.result import write_result
from slfac.testbed.write import replace_file
from slfac.wire.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What the demo does.

    Attributes:
        out: Folder for everything it writes.
        data: IDX folder with train and test split; None fetches 5000 MNIST digits.
        devices: Device processes.
        rounds: Rounds to train.
        codecs: Specs of the codecs to run, one run each.
        seeds: Seeds to run each codec with.
        model: Model to train, from ``slfac.export.models``.
        cut: Its cut layer.
        steps_per_round: Steps of every device in a round; 0 means one pass of its data.
        batch_size: Samples a device puts into one step.
        optimizer: Spec of both halves' optimisers.
        partition: Spec of the partition over the devices.
        result: File to write all runs' figures to, with means and spreads; None for none.
        command: The command line, for that file.
        page: ``[HOST:]PORT`` of a web page that shows the runs while they go on, and stays
            until Ctrl-C; empty for none.
        energy: Whether devices measure where their joules go, with the best sensor there is.
    """

    out: Path = Path("runs/demo")
    data: Path | None = None
    devices: int = 3
    rounds: int = 10
    codecs: tuple[str, ...] = ("slfac",)
    seeds: tuple[int, ...] = (0,)
    model: str = "cnn"
    cut: str = "pool1"
    steps_per_round: int = 0
    batch_size: int = 32
    optimizer: str = "sgd:lr=0.05,momentum=0.9"
    partition: str = "iid"
    result: Path | None = None
    command: str = ""
    page: str = ""
    energy: bool = False


def run_demo(settings: DemoSettings, console: Console) -> list[RunReport]:
    """Export, train and report, once per codec and seed.

    Args:
        settings: What to do.
        console: Where to show it.

    Returns:
        One report a run.

    Raises:
        SlfacError: A branch of it, which says what failed.
    """
    _check(settings)
    live = Live(Shown(page=settings.page))
    live.start()
    try:
        if settings.page:
            console.print(f"page: {live.places['page']}", highlight=False)
        reports = _train(settings, console, live)
        if settings.page:
            console.print("the page stays until Ctrl-C", highlight=False)
            _await_interrupt()
    finally:
        live.close()
    return reports


def _train(settings: DemoSettings, console: Console, live: Live) -> list[RunReport]:
    if settings.data is None:
        data = fetch_mnist5k(on_progress=lambda line: console.print(line, highlight=False))
        dataset = "MNIST, 5000 images"
    else:
        data, dataset = settings.data, settings.data.name
    shape, classes = describe_idx(data)
    reports = []
    for seed in settings.seeds:
        bundle = settings.out / ("bundle" if len(settings.seeds) == 1 else f"bundle-seed{seed}")
        console.print(
            f"exporting {settings.model}, cut behind {settings.cut}, seed {seed}", highlight=False
        )
        export_bundle(
            model=settings.model,
            kwargs={},
            cut=settings.cut,
            input_shape=shape,
            out=bundle,
            num_classes=classes,
            seed=seed,
            preprocessing=MNIST_SCALING,
        )
        for codec in settings.codecs:
            run = LocalRun(
                bundle=bundle,
                data=data,
                out=_folder(settings, codec, seed),
                devices=settings.devices,
                rounds=settings.rounds,
                steps_per_round=settings.steps_per_round,
                batch_size=settings.batch_size,
                optimizer=settings.optimizer,
                codec_up=codec,
                codec_down=codec,
                partition=settings.partition,
                seed=seed,
                energy=settings.energy,
            )
            reports.append(_run(run, dataset, console, live))
    _finish(settings, reports, console)
    return reports


def _await_interrupt() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt as stop:
        # SIGTERM is another matter, and ends as it always does.
        if type(stop) is not KeyboardInterrupt:
            raise


def _run(run: LocalRun, dataset: str, console: Console, live: Live) -> RunReport:
    console.print(
        f"training with codec {run.codec_up}: {run.devices} devices, seed {run.seed}",
        highlight=False,
    )
    with RunProgress(console, run.codec_up, rounds=run.rounds, devices=run.devices) as progress:

        def on_event(event: Event) -> None:
            live.listen(event)
            progress.on_event(event)

        about = {"dataset": dataset, "codec": run.codec_up, "backend": "local"}
        replace_file(run.out / ABOUT_NAME, json.dumps(about).encode() + b"\n")
        events = run_local(run, on_event)
    report, points = collect(events, dataset=dataset)
    return write_report(report, points, run.out)


def _finish(settings: DemoSettings, reports: Sequence[RunReport], console: Console) -> None:
    print_tables(reports, console)
    if len(reports) > 1:
        write_comparison(reports, settings.out)
    if settings.result is not None:
        write_result(reports, settings.result, command=settings.command)
        console.print(f"results: {settings.result}", highlight=False, soft_wrap=True)
    page = "comparison.html" if len(reports) > 1 else "report.html"
    console.print(f"report: {settings.out / page}", highlight=False, soft_wrap=True)


def _folder(settings: DemoSettings, codec: str, seed: int) -> Path:
    """Folder of one run: the output folder itself where there is only one."""
    if len(settings.codecs) == len(settings.seeds) == 1:
        return settings.out
    name = re.sub(r"[^A-Za-z0-9.]+", "-", codec)
    return settings.out / (name if len(settings.seeds) == 1 else f"{name}-seed{seed}")


def _check(settings: DemoSettings) -> None:
    if settings.devices < 1:
        raise SettingsError(f"setting devices is {settings.devices}", "use at least 1")
    if settings.rounds < 1:
        raise SettingsError(f"setting rounds is {settings.rounds}", "use at least 1")
    for name, values in (("codecs", settings.codecs), ("seeds", settings.seeds)):
        if not values or len(set(values)) < len(values):
            raise SettingsError(f"setting {name} is {values}", "give each once, and at least one")
    for codec in settings.codecs:
        make_codec(codec)
