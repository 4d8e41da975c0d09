"""Captures what crosses a cut in real training, for the codecs to be measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.nn import functional

from slfac.data import BatchStream, Dataset, apply, open_dataset
from slfac.export.rebuild import build_model, factory_path, find_factory
from slfac.export.split import Split, split
from slfac.server.optim import make_torch_optimizer
from slfac.testbed.bench.progress import moving_bar
from slfac.testbed.bench.tensors import write_tensors
from slfac.testbed.collect import machine, versions
from slfac.testbed.greyscale import MNIST_SCALING, describe_idx
from slfac.testbed.mnist5k import fetch_mnist5k
from slfac.testbed.report.units import human_bytes
from slfac.wire.errors import SettingsError, TrainingError

_CUTS = {"cnn": "pool1", "resnet18": "layer2"}
_OPTIMIZER = "sgd:lr=0.05,momentum=0.9"
_MAX_STEP = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CaptureSettings:
    """What to train and when to look.

    Attributes:
        out: The ``.npz`` file to write.
        model: Model to train, from ``slfac.export.models``.
        kwargs: More arguments of the model.
        cut: Its cut layer; empty takes ``pool1`` of cnn, ``layer2`` of resnet18.
        data: IDX folder with greyscale images; None fetches 5000 MNIST digits.
        steps: Steps to capture, counted from 1.
        batch_size: Samples of a step.
        keep: Samples of a captured batch to write, its first ones; 0 keeps them all.
        seed: Seed of weights and batches.
        command: The command line, for the file.
    """

    out: Path
    model: str = "cnn"
    kwargs: dict[str, Any] = field(default_factory=dict)
    cut: str = ""
    data: Path | None = None
    steps: tuple[int, ...] = (5, 100, 300)
    batch_size: int = 64
    keep: int = 0
    seed: int = 0
    command: str = ""


def run_capture(settings: CaptureSettings, console: Console) -> None:
    """Capture, and show how it goes; see :func:`capture`.

    Args:
        settings: What to do.
        console: Where to show it.
    """
    _check(settings)
    with moving_bar(console, "capture", total=max(settings.steps)) as advance:
        arrays = capture(
            settings,
            on_step=lambda step, loss: advance(f"step {step}, loss {loss:.3f}"),
            say=lambda line: console.print(line, highlight=False),
        )
    for name, array in arrays.items():
        shape = "x".join(map(str, array.shape))
        console.print(f"{name}  {shape}  {human_bytes(array.nbytes)}", highlight=False)
    written = human_bytes(settings.out.stat().st_size)
    console.print(f"{settings.out}: {written}", highlight=False, soft_wrap=True)


def capture(
    settings: CaptureSettings,
    on_step: Callable[[int, float], None] = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, np.ndarray]:
    """Train the whole model, and write the smashed data and its gradient at some steps.

    The model is trained in one piece, without devices or codecs, by SGD with momentum.
    Values are rounded to 16 significant bits, an error 104 dB below the signal.

    Args:
        settings: What to do.
        on_step: Told each step that is done, and its loss.
        say: Told what is being fetched.

    Returns:
        What was written: ``MODEL-CUT-stepN-smashed`` and ``-gradient``, each
        ``(samples, ...) float32``.

    Raises:
        SettingsError: A setting is out of range.
        ExportError: There is no such model or cut.
        DataError: The data cannot be read.
        TrainingError: Training diverged.
        RunError: The file cannot be written.
    """
    _check(settings)
    data = settings.data if settings.data is not None else fetch_mnist5k(on_progress=say)
    shape, classes = describe_idx(data)
    torch.manual_seed(settings.seed)
    cut = settings.cut or _CUTS.get(settings.model, "")
    kwargs = {**settings.kwargs, "num_classes": classes, "input_shape": shape}
    model = build_model(find_factory(factory_path(settings.model)), kwargs)
    halves = split(model, cut, shape)
    dataset = open_dataset(data, split="train", input_shape=shape, num_classes=classes)
    arrays: dict[str, np.ndarray] = {}
    losses: dict[str, float] = {}
    for step, loss, pair in _train(halves, dataset, settings):
        on_step(step, loss)
        if step in settings.steps:
            losses[str(step)] = loss
            for role, values in zip(("smashed", "gradient"), pair, strict=True):
                kept = values.detach().numpy()[: settings.keep or None]
                arrays[f"{settings.model}-{cut}-step{step}-{role}"] = _rounded(kept)
    about = {
        "command": settings.command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "model": settings.model,
        "kwargs": settings.kwargs,
        "cut": cut,
        "dataset": data.name,
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "keep": settings.keep,
        "optimizer": _OPTIMIZER,
        "loss_by_step": losses,
    }
    write_tensors(settings.out, arrays, about)
    return arrays


def _train(
    halves: Split, dataset: Dataset, settings: CaptureSettings
) -> Iterator[tuple[int, float, tuple[torch.Tensor, torch.Tensor]]]:
    """Yield each step with its loss, smashed data and gradient, before the update."""
    front, back = halves.front, halves.back
    parameters = [*front.parameters(), *back.parameters()]
    optimizer = make_torch_optimizer(_OPTIMIZER, parameters)
    batches = BatchStream(len(dataset), settings.batch_size, settings.seed, device=0)
    for step in range(1, max(settings.steps) + 1):
        rows = batches.next()
        smashed = front(torch.from_numpy(apply(MNIST_SCALING, dataset.images[rows])))
        smashed.retain_grad()
        loss = functional.cross_entropy(back(smashed), torch.from_numpy(dataset.labels[rows]))
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is not finite at step {step}", "take another seed")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        yield step, float(loss.detach()), (smashed, smashed.grad)
        optimizer.step()


def _rounded(x: np.ndarray) -> np.ndarray:
    """Round float32 to 16 significant bits, so that each value deflates to 3 bytes or less."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded: np.ndarray = (bits + np.uint32(0x80) & np.uint32(0xFFFFFF00)).view(np.float32)
    return rounded


def _check(settings: CaptureSettings) -> None:
    steps = settings.steps
    if not steps or len(set(steps)) < len(steps) or not all(1 <= s <= _MAX_STEP for s in steps):
        raise SettingsError(
            f"setting steps is {steps}", f"give numbers from 1 to {_MAX_STEP}, each once"
        )
    for name in {"num_classes", "input_shape"} & settings.kwargs.keys():
        raise SettingsError(f"setting kwargs holds {name!r}", "leave it out: the data tell it")
    if settings.batch_size < 2 or not 0 <= settings.keep <= settings.batch_size:
        raise SettingsError(
            f"setting batch_size is {settings.batch_size}, keep is {settings.keep}",
            "use batches of at least 2 samples, and keep at most as many",
        )
    if settings.seed < 0:
        raise SettingsError(f"setting seed is {settings.seed}", "use 0 or more")
    if settings.out.suffix != ".npz" or settings.out.is_dir():
        raise SettingsError(f"setting capture is {settings.out}", "name a file that ends in .npz")
