"""A rate experiment from its plan to its report."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from slfac.export import export_bundle
from slfac.server.accelerator import choose_device
from slfac.testbed.collect import machine, versions
from slfac.testbed.experiment.execute import Job, Outcome, execute
from slfac.testbed.experiment.points import CodecPoint
from slfac.testbed.experiment.progress import RateProgress
from slfac.testbed.experiment.record import codec_print, find, key_of
from slfac.testbed.experiment.split import prepare_split
from slfac.testbed.greyscale import MNIST_SCALING, describe_idx
from slfac.testbed.local import LocalRun
from slfac.testbed.rate.plan import RatePlan
from slfac.testbed.rate.report import report
from slfac.testbed.rate.summary import Result, summarise
from slfac.wire.bundle import open_bundle
from slfac.wire.errors import BundleError, RunError

_SLUG = re.compile(r"[^A-Za-z0-9.]+")
# What decides how a run ends, beside codec, seed, bundle and what `place_of` tells.
_DECIDES = (
    *("split", "devices", "partition", "rounds", "steps_per_round", "batch_size", "optimizer"),
    "link",
)


def run_rate(plan: RatePlan, console: Console, command: str) -> Result:
    """Run every codec with every seed, reuse what was run before, and report.

    Args:
        plan: What to run.
        console: Where to show it.
        command: The command line, for the result.

    Returns:
        The result.

    Raises:
        RunError: A run failed; all others have been carried out and reported.
        SlfacError: Another branch of it, which says what failed.
    """
    jobs = _jobs(plan, console)
    found = {job.folder: find(job.folder, job.settings) for job in jobs}
    missing = [job for job in jobs if found[job.folder] is None]
    failed: list[Outcome] = []
    with RateProgress(console, jobs=plan.jobs, total=len(jobs)) as progress:
        progress.reuse([run for run in found.values() if run is not None])

        def on_end(outcome: Outcome) -> None:
            found[outcome.job.folder] = outcome.run
            if outcome.error is not None:
                failed.append(outcome)
            progress.on_end(outcome)

        execute(missing, at_a_time=plan.jobs, on_poll=progress.on_poll, on_end=on_end)
    result = summarise(
        plan,
        [run for job in jobs if (run := found[job.folder]) is not None],
        command=command,
        failed=[f"{o.job.point.label}, seed {o.job.local.seed}: {o.error}" for o in failed],
    )
    report(plan, result, console)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(jobs)} runs failed, the first: {result.failed[0]}",
            "the same command tries them again, and reuses the others",
        )
    return result


def place_of(plan: RatePlan, images: str) -> dict[str, Any]:
    """On what the runs of a plan go on, as part of what decides how they end.

    Args:
        plan: The plan.
        images: Hash of the images.

    Returns:
        JSON values: machine, versions and images; the GPU if one is used; over links, where
        seconds are the result, how many runs go on at once.

    Raises:
        SettingsError: CUDA is asked for, but torch finds none.
    """
    place: dict[str, Any] = {"machine": machine(), "versions": versions(), "images": images}
    device = choose_device(plan.torch_device)
    if device.type == "cuda":
        place["gpu"] = torch.cuda.get_device_name(device)
    if plan.link:
        place["jobs"] = plan.jobs
    return place


def _jobs(plan: RatePlan, console: Console) -> list[Job]:
    """Every run, seed by seed, so that an experiment that is stopped has whole pairs."""
    data, images = prepare_split(
        plan.data,
        plan.out / "data",
        split=plan.split,
        train_samples=plan.train_samples,
        held_out=plan.held_out,
    )
    place = place_of(plan, images)
    prints = {spec: codec_print(spec) for point in plan.points for spec in (point.up, point.down)}
    jobs = []
    for seed in plan.seeds:
        bundle, bundle_id = _bundle(plan, data, seed, console)
        for point in plan.points:
            settings = {
                **place,
                "bundle": bundle_id,
                "seed": seed,
                "codec_up": [point.up, prints[point.up]],
                "codec_down": [point.down, prints[point.down]],
                **plan.model_dump(mode="json", include=set(_DECIDES)),
            }
            name = f"{_SLUG.sub('-', point.label)[:60]}-seed{seed}-{key_of(settings)}"
            out = plan.out / "runs" / name
            local = _local(plan, point, seed=seed, bundle=bundle, data=data, out=out)
            jobs.append(Job(point, local, settings))
    return jobs


def _local(
    plan: RatePlan, point: CodecPoint, *, seed: int, bundle: Path, data: Path, out: Path
) -> LocalRun:
    cores = len(os.sched_getaffinity(0)) // plan.jobs
    return LocalRun(
        bundle=bundle,
        data=data,
        out=out,
        devices=plan.devices,
        rounds=plan.rounds,
        steps_per_round=plan.steps_per_round,
        batch_size=plan.batch_size,
        optimizer=plan.optimizer,
        codec_up=point.up,
        codec_down=point.down,
        partition=plan.partition,
        seed=seed,
        server_threads=max(1, cores - plan.devices),
        torch_device=plan.torch_device,
        links=plan.links,
    )


def _bundle(plan: RatePlan, data: Path, seed: int, console: Console) -> tuple[Path, str]:
    """The bundle of a seed, exported unless an earlier experiment has."""
    shape, classes = describe_idx(data)
    arguments = {
        "model": plan.model,
        "kwargs": plan.kwargs,
        "cut": plan.cut,
        "input_shape": shape,
        "num_classes": classes,
        "seed": seed,
    }
    folder = plan.out / "bundles" / f"{plan.model}-seed{seed}-{key_of(arguments)}"
    try:
        return folder, open_bundle(folder).id
    except BundleError:
        console.print(
            f"exporting {plan.model}, cut behind {plan.cut}, seed {seed}", highlight=False
        )
    exported = export_bundle(
        model=plan.model,
        kwargs=plan.kwargs,
        cut=plan.cut,
        input_shape=shape,
        out=folder,
        num_classes=classes,
        seed=seed,
        preprocessing=MNIST_SCALING,
    )
    return folder, exported.bundle.id
