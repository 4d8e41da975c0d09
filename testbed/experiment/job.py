"""Runs made ready: their data drawn, their models exported, their folders named."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from slfac.export import export_bundle
from slfac.server.accelerator import choose_device
from slfac.testbed.collect import machine, versions
from slfac.testbed.datasets.draw import Drawn, draw
from slfac.testbed.datasets.named import load_samples
from slfac.testbed.datasets.samples import Samples
from slfac.testbed.experiment.backend import Backend, ResolvedRun
from slfac.testbed.experiment.lock import held
from slfac.testbed.experiment.record import codec_print, key_of
from slfac.testbed.experiment.settings import RunSettings
from slfac.wire.bundle import open_bundle
from slfac.wire.errors import BundleError

_SLUG = re.compile(r"[^A-Za-z0-9.]+")
_MOST_NAME = 60
# What the hashes of bundle and samples, the codecs' prints or the place say already.
_SAID_ELSEWHERE = {
    *("model", "kwargs", "cut", "head_cut", "data", "split", "train_samples", "held_out"),
    *("codec", "torch_device"),
}


@dataclass(frozen=True)
class Job:
    """A run to carry out.

    Attributes:
        run: The run, ready.
        decides: All that decides its outcome, as JSON values.
        label: What to call it, for people.
        about: What its report says of it beside its metrics, as JSON values.
    """

    run: ResolvedRun
    decides: dict[str, Any]
    label: str
    about: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return self.run.out


@dataclass
class Workshop:
    """Makes runs ready, and everything that several of them share only once.

    Attributes:
        out: Folder of all experiments: ``runs``, ``data`` and ``bundles`` are in it.
        backend: What carries the runs out.
        jobs: How many runs go on at the same time.
        folders: Where the user has data sets, by name.
        say: Told what is being done, in a few words.
    """

    out: Path
    backend: Backend
    jobs: int
    folders: Mapping[str, Path]
    say: Callable[[str], None]
    _samples: dict[str, Samples] = field(default_factory=dict)
    _drawn: dict[tuple[Any, ...], Drawn] = field(default_factory=dict)
    _bundles: dict[str, tuple[Path, str]] = field(default_factory=dict)
    _prints: dict[str, str] = field(default_factory=dict)

    def make(self, settings: RunSettings, label: str) -> Job:
        """Make a run ready.

        Args:
            settings: Its settings, checked.
            label: What to call it, for people.

        Returns:
            The run.

        Raises:
            SlfacError: A branch of it: the data set is not there, the model has no such cut,
                or the backend cannot carry it out.
        """
        self.backend.check(settings)
        drawn = self._draw(settings)
        bundle, bundle_id = self._bundle(settings)
        point = settings.point
        decides = {
            **place_of(settings, self.backend, self.jobs, drawn.digest),
            "bundle": bundle_id,
            "codec_up": [point.up, self._print(point.up)],
            "codec_down": [point.down, self._print(point.down)],
            **settings.model_dump(mode="json", exclude=_SAID_ELSEWHERE),
        }
        name = _SLUG.sub("-", point.label)[:_MOST_NAME].strip("-")
        run = ResolvedRun(
            settings=settings,
            bundle=bundle,
            data=drawn.path,
            device_data=drawn.device_data,
            out=self.out / "runs" / f"{name}-seed{settings.seed}-{key_of(decides)}",
            threads=max(1, len(os.sched_getaffinity(0)) // self.jobs - settings.devices),
        )
        return Job(run, decides, label, self._about(settings))

    def _about(self, settings: RunSettings) -> dict[str, Any]:
        return {
            "dataset": self._load(settings.data).title,
            "backend": self.backend.name,
            "jobs": self.jobs,
            **settings.model_dump(mode="json"),
        }

    def _print(self, spec: str) -> str:
        if spec not in self._prints:
            self._prints[spec] = codec_print(spec)
        return self._prints[spec]

    def _load(self, name: str) -> Samples:
        if name not in self._samples:
            self._samples[name] = load_samples(name, self.folders, self.say)
        return self._samples[name]

    def _draw(self, settings: RunSettings) -> Drawn:
        owned_by = settings.devices if settings.partition == "own" else 0
        choice = (settings.split, settings.train_samples, settings.held_out, owned_by)
        key = (settings.data, *choice)
        if key not in self._drawn:
            self._drawn[key] = draw(
                self._load(settings.data),
                self.out / "data",
                split=settings.split,
                train_samples=settings.train_samples,
                held_out=settings.held_out,
                owned_by=owned_by,
            )
        return self._drawn[key]

    def _bundle(self, settings: RunSettings) -> tuple[Path, str]:
        """The bundle of a run, exported unless an earlier experiment has."""
        samples = self._load(settings.data)
        arguments: dict[str, Any] = {
            "model": settings.model,
            "kwargs": settings.kwargs,
            "cut": settings.cut,
            "input_shape": samples.shape,
            "num_classes": samples.classes,
            "seed": settings.seed,
        }
        if settings.head_cut:
            arguments["head_cut"] = settings.head_cut
        scaling = samples.preprocessing
        key = key_of({**arguments, "scaling": [scaling.scale, *scaling.mean, *scaling.std]})
        if key not in self._bundles:
            model = _SLUG.sub("-", settings.model)
            folder = self.out / "bundles" / f"{model}-seed{settings.seed}-{key}"
            with held(folder.parent, wait=True):
                self._bundles[key] = folder, self._export(folder, arguments, samples)
        return self._bundles[key]

    def _export(self, folder: Path, arguments: dict[str, Any], samples: Samples) -> str:
        try:
            return open_bundle(folder).id
        except BundleError:
            self.say(
                f"exporting {arguments['model']}, cut behind {arguments['cut']}, "
                f"seed {arguments['seed']}"
            )
        exported = export_bundle(out=folder, preprocessing=samples.preprocessing, **arguments)
        return exported.bundle.id


def place_of(settings: RunSettings, backend: Backend, jobs: int, samples: str) -> dict[str, Any]:
    """On what a run goes on, as part of what decides how it ends.

    Args:
        settings: The run's settings.
        backend: What carries it out.
        jobs: How many runs go on at the same time.
        samples: Hash of the samples.

    Returns:
        JSON values: backend, machine, versions and samples; the GPU if one is used; over links
        and with energy, where time is part of the result, how many runs go on at once.

    Raises:
        SettingsError: CUDA is asked for, but torch finds none.
    """
    place: dict[str, Any] = {
        "backend": backend.name,
        "machine": machine(),
        "versions": versions(),
        "samples": samples,
        **backend.place(settings),
    }
    device = choose_device(settings.torch_device)
    if device.type == "cuda":
        place["gpu"] = torch.cuda.get_device_name(device)
    if settings.link or settings.energy:
        place["jobs"] = jobs
    return place


def about_json(job: Job) -> bytes:
    """What is kept beside a run's metrics from its start on.

    Args:
        job: The run.
    """
    return json.dumps(job.about, indent=1).encode() + b"\n"
