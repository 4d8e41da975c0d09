"""How far a front that onnxruntime and NumPy train is from the same front in torch.

A process of its own as well: ``python -m harness.trained``, in ``tests``, writes what it
measures to ``docs/results/parity.json`` and ``parity.md``; ``python -m harness.trained
FAMILY...`` prints some families' rows.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.families import LAYERS
from harness.family_models import MODELS
from harness.halves import torch_halves
from slfac.device.draws import draw
from slfac.device.front import Front
from slfac.device.optim import make_optimizer
from slfac.export import export_bundle
from slfac.export.draws import GivenDraws
from slfac.export.replay import Groups, TorchFront
from slfac.testbed.collect import machine, versions
from slfac.wire.bundle import Bundle

FAMILIES = [*MODELS, *LAYERS]
BATCHES = (1, 3, 32)
STEPS = 20
RUNS = 3
SEED = 4
SGD = "sgd:lr=0.01,momentum=0.9"
# A larger eps than the default, for a gradient that is zero but for rounding (a bias before
# BatchNorm) would be blown up to whole steps, by torch too.
ADAM = "adam:lr=0.001,eps=0.0001"
TORCH: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    SGD: lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    ADAM: lambda p: torch.optim.Adam(p, lr=0.001, eps=1e-4),
}
COMMAND = "python -m harness.trained"
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "parity.json"
Tensors = dict[str, np.ndarray]
NOTE = f"""Relative errors against torch in float64, in brackets those of torch in float32. An
error is the norm of a tensor's difference over the norm of torch's tensor. Smashed data and
BatchNorm statistics: the worst tensor, gradients: the median tensor, of steps with batches of 1,
3 and 32. Last two columns: the worst parameter or statistic after 20 steps of `{SGD}`
and `{ADAM}`, the best of three runs, for a unit within rounding of zero may switch.
`front` is a front of small layers, side by side: `tests/harness/families.py` lists them."""


def export_family(family: str, out: Path) -> Bundle:
    """The bundle of a family."""
    if family in MODELS:
        model, kwargs, cut, shape = MODELS[family]
    else:
        model, kwargs, cut = "harness.families:layers", {"family": family}, "front"
        shape = LAYERS[family][0]
    classes = {"num_classes": 4} if family in MODELS else {}
    return export_bundle(
        model=model, kwargs=kwargs, cut=cut, input_shape=shape, out=out, seed=SEED, **classes
    ).bundle


def step_errors(bundle: Bundle, batch: int) -> tuple[dict[str, float], list[float], list[float]]:
    """One step of a batch, against torch in float64.

    Returns:
        Group of tensors -> largest relative error; errors of each gradient; and those that
        torch makes in float32.
    """
    x, gradients, draws = _given(bundle, batch, step=batch)
    state = bundle.front_state()
    front, _ = torch_halves(bundle)
    expected = TorchFront(front, torch.float64).step(state, x, gradients, draws)
    own = TorchFront(front, torch.float32).step(state, x, gradients, draws)
    device = Front(bundle)
    smashed = device.forward(x, draws)
    made: Groups = {
        "smashed data": dict(zip(expected["smashed data"], smashed, strict=True)),
        "gradients": device.backward(gradients),
        "buffers": device.buffers,
    }
    errors = {group: relative(made[group], expected[group]) for group in made}
    worst = {group: max(found, default=0.0) for group, found in errors.items()}
    return worst, errors["gradients"], relative(own["gradients"], expected["gradients"])


def trained_error(bundle: Bundle, spec: str, enough: float = 0.0) -> tuple[float, float]:
    """Train 20 steps on the device, and in torch in float64; and in torch in float32.

    A unit within rounding of zero may switch, in torch as well, and every later step then
    differs: so it is the best of three runs, as in :mod:`slfac.export.verify`. A run whose
    error is ``enough`` is the last.

    Returns:
        Largest error of a parameter or statistic that the device makes, and that torch makes
        in float32.
    """
    errors: list[tuple[float, float]] = []
    while len(errors) < RUNS and (not errors or errors[-1][0] > enough):
        errors.append(_run_errors(bundle, spec, len(errors)))
    return min(ours for ours, _ in errors), min(own for _, own in errors)


def _run_errors(bundle: Bundle, spec: str, run: int) -> tuple[float, float]:
    expected = _train_torch(bundle, spec, run, torch.float64)
    own = _train_torch(bundle, spec, run, torch.float32)
    device, optimizer = Front(bundle), make_optimizer(spec)
    for step in range(STEPS):
        x, gradients, draws = _given(bundle, 4, STEPS * run + step)
        device.forward(x, draws)
        optimizer.step(device.parameters, device.backward(gradients))
    groups = (device.parameters, device.buffers)
    worst = []
    for state in (device.state(), own):
        pairs = [({n: state[n] for n in g}, {n: expected[n] for n in g}) for g in groups]
        worst.append(max(max(relative(*pair), default=0.0) for pair in pairs))
    return worst[0], worst[1]


def _train_torch(bundle: Bundle, spec: str, run: int, dtype: torch.dtype) -> Tensors:
    front = torch_halves(bundle)[0].to(dtype).train()
    optimizer = TORCH[spec](front.parameters())
    for step in range(STEPS):
        x, gradients, draws = _given(bundle, 4, STEPS * run + step)
        optimizer.zero_grad()
        with GivenDraws([torch.tensor(value, dtype=dtype) for value in draws.values()]):
            smashed = front(torch.tensor(x, dtype=dtype))
        listed = smashed if isinstance(smashed, tuple) else (smashed,)
        torch.autograd.backward(listed, [torch.tensor(g, dtype=dtype) for g in gradients])
        optimizer.step()
    return {name: value.numpy() for name, value in front.state_dict().items()}


def relative(given: Tensors, expected: Tensors) -> list[float]:
    """Of each tensor, the norm of the error over its norm, or a thousandth of the largest's."""
    assert given.keys() == expected.keys()
    sizes = {name: _rms(value) for name, value in expected.items()}
    floor = max(1e-3 * max(sizes.values(), default=0.0), 1e-30)
    return [
        _rms(given[name].astype(np.float64) - expected[name]) / max(sizes[name], floor)
        for name in expected
    ]


def _rms(value: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(value.astype(np.float64)))))


def _given(bundle: Bundle, batch: int, step: int) -> tuple[np.ndarray, list[np.ndarray], Tensors]:
    """A batch, gradients of the smashed data, and random numbers."""
    manifest = bundle.manifest
    rng = np.random.default_rng([SEED, batch, step])
    x = rng.standard_normal((batch, *manifest.input.shape), dtype=np.float32)
    shapes = [(batch, *spec.shape) for spec in manifest.smashed]
    gradients = [
        rng.standard_normal(shape, dtype=np.float32) / np.float32(np.prod(shape) ** 0.5)
        for shape in shapes
    ]
    return x, gradients, draw(manifest.random, batch, SEED, 0, 0, step)


def batches(family: str) -> Sequence[int]:
    """Batch sizes that torch can train a family with."""
    return [batch for batch in BATCHES if batch > 1 or family != "rows"]


def measure(family: str, bundle: Bundle) -> dict[str, Any]:
    """A row of the table."""
    steps = [step_errors(bundle, batch) for batch in batches(family)]
    worst = {group: max(errors[group] for errors, _, _ in steps) for group in steps[0][0]}
    return {
        "family": family,
        "cut": bundle.manifest.cut,
        "parameters": len(bundle.manifest.parameters),
        "smashed": worst["smashed data"],
        "gradients": statistics.median(e for _, errors, _ in steps for e in errors),
        "gradients_torch": statistics.median(e for _, _, errors in steps for e in errors),
        "statistics": worst["buffers"] if bundle.manifest.batch_norm else None,
        **dict(zip(("sgd", "sgd_torch"), trained_error(bundle, SGD), strict=True)),
        **dict(zip(("adam", "adam_torch"), trained_error(bundle, ADAM), strict=True)),
    }


def page(result: dict[str, Any]) -> str:
    """The page of a result: a table, and what made it."""
    made_by = {**result["machine"], **result["versions"]}
    parts = [
        "# Fronts that devices train, against torch",
        NOTE,
        table(result["rows"]),
        f"```sh\ncd tests && {result['command']}\n```",
        ", ".join(f"{name} {value}" for name, value in made_by.items()) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def table(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| Family | Cut | Smashed data | Gradients | Statistics | 20 steps of SGD | of Adam |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shown = {k: f"{v:.0e}" if isinstance(v, float) else v or "" for k, v in row.items()}
        lines.append(
            "| {family} | `{cut}` | {smashed} | {gradients} ({gradients_torch}) | {statistics} "
            "| {sgd} ({sgd_torch}) | {adam} ({adam_torch}) |".format(**shown)
        )
    return "\n".join(lines)


def main(families: Sequence[str]) -> None:
    torch.set_num_threads(1)
    rows = []
    for family in families or FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(family, export_family(family, Path(folder) / "bundle")))
        sys.stderr.write(f"{rows[-1]}\n")
    sys.stdout.write(table(rows) + "\n")
    if not families:
        made_by = {"machine": machine(), "versions": versions(), "date": str(date.today())}  # noqa: DTZ011
        sources = [{"seed": SEED}]
        result = {"command": COMMAND, **made_by, "sources": sources, "rows": rows}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(page(result))


if __name__ == "__main__":
    main(sys.argv[1:])
