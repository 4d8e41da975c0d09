"""Tries each front and codec once: what does not work is said before minutes have passed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slfac.codec import decode, make_codec
from slfac.device.profiling.child import run_worker
from slfac.device.profiling.record import FrontFacts
from slfac.device.profiling.settings import ProfileSettings
from slfac.device.profiling.steps import FrontSteps
from slfac.device.profiling.worker import Task
from slfac.wire.bundle import Bundle, open_bundle
from slfac.wire.errors import CodecError, RunError


@dataclass(frozen=True)
class Tried:
    """A front that works.

    Attributes:
        bundle: Its bundle.
        facts: What it is, and what memory it takes.
        step_s: How long a step takes, about.
        codec_s: By codec, how long encoding and decoding take, about.
    """

    bundle: Bundle
    facts: FrontFacts
    step_s: float
    codec_s: dict[str, float]

    def steps(self, settings: ProfileSettings) -> FrontSteps:
        """Its training steps.

        Args:
            settings: Batch size, threads, data and so on.
        """
        return _steps(self.bundle, settings)


def open_bundles(settings: ProfileSettings) -> list[Bundle]:
    """Open and verify all bundles.

    Args:
        settings: Where they are.

    Raises:
        BundleError: One is missing or damaged.
    """
    return [open_bundle(path, "device") for path in settings.bundles]


def try_front(
    bundle: Bundle, name: str, settings: ProfileSettings, say: Callable[[str], None]
) -> Tried:
    """Make some steps, in processes of their own first: they may need too much memory.

    Args:
        bundle: The front.
        name: What to call it.
        settings: Batch size, codecs and so on.
        say: Told what is done.

    Raises:
        BundleError: A graph cannot be loaded.
        DataError: The data cannot be read or does not fit.
        RunError: A process that trains it did not come through.
        CodecError: A codec cannot take what it gives.
        SettingsError: The optimiser is unknown.
    """
    say(f"trying front {name} at batch {settings.batch_size}, and what memory it takes")
    steps = _steps(bundle, settings)
    steps.load()
    del steps
    task = Task(
        kind="front",
        bundle=str(bundle.path),
        batch=settings.batch_size,
        threads=settings.threads,
        optimizer=settings.optimizer,
    )
    try:
        done = [run_worker(task, threads=settings.threads) for _ in range(settings.repetitions)]
    except RunError as error:
        raise RunError(
            f"front {bundle.path} at batch_size {settings.batch_size}: {error.what}",
            "give a smaller --batch-size, or leave this bundle out",
        ) from error
    peaks = tuple(one.peak_bytes for one in done)
    return Tried(
        bundle,
        _facts(bundle, name, settings, peaks),
        min(one.step_s for one in done),
        _try_codecs(bundle, settings),
    )


def front_names(paths: tuple[Path, ...]) -> list[str]:
    """Names by which people tell bundles apart: their folders', or whole paths.

    Args:
        paths: Of the bundles.
    """
    names = [path.resolve().name for path in paths]
    return [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, paths, strict=True)
    ]


def _try_codecs(bundle: Bundle, settings: ProfileSettings) -> dict[str, float]:
    steps = _steps(bundle, settings)
    steps.load()
    steps.forward()
    taken_s = {}
    for spec in settings.codecs:
        codec, begin_s = make_codec(spec), time.monotonic()
        for z in steps.smashed:
            try:
                decode(codec.encode(z), max_values=z.size)
            except CodecError as error:
                raise CodecError(
                    f"codec {spec} on front {bundle.path}: {error.what}",
                    error.remedy or "leave it out of --codec",
                ) from error
        taken_s[spec] = time.monotonic() - begin_s
    return taken_s


def _steps(bundle: Bundle, settings: ProfileSettings) -> FrontSteps:
    return FrontSteps(
        bundle,
        settings.batch_size,
        threads=settings.threads,
        optimizer=settings.optimizer,
        data=settings.data,
        seed=settings.seed,
    )


def _facts(
    bundle: Bundle, name: str, settings: ProfileSettings, peaks: tuple[int, ...]
) -> FrontFacts:
    manifest = bundle.manifest
    others = {*manifest.head.state} if manifest.head else set()
    trained = [spec.shape for spec in manifest.parameters if spec.name not in others]
    return FrontFacts(
        name=name,
        bundle=bundle.id,
        model=manifest.model,
        cut=manifest.cut,
        input_shape=manifest.input.shape,
        smashed_shapes=tuple(spec.shape for spec in manifest.smashed),
        parameters=int(sum(math.prod(shape) for shape in trained)),
        batch=settings.batch_size,
        data="seeded noise" if settings.data is None else str(settings.data),
        peak_bytes=peaks,
    )
