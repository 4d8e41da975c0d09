"""Every mode against an all-torch twin that replays its batches, and what each sends over the wire.

``python -m harness.modes --data DIR`` (``make results-modes``) writes what it measures to
``docs/results/modes.json`` and ``modes.md``; a test of tests/contract holds the page to the file.
Finished runs are kept in ``runs/modes`` and not made again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.halves import torch_halves
from harness.mode_twin import ModeTwin, device_batches
from harness.site import Site, run_site
from harness.u_twin import UShapedTwin
from slfac.data import open_dataset, write_idx
from slfac.export import export_bundle
from slfac.server.modes.kinds import RELAY, U_SHAPED, mode_names
from slfac.testbed.collect import machine, versions
from slfac.wire.bundle import Bundle
from slfac.wire.manifest import Preprocessing

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "modes.json"
RUNS = ROOT / "runs" / "modes"
WAIT_S = 900
DEVICES, ROUNDS, BATCH, TRAIN = 3, 3, 32, 10000
COMPARED_STEPS = 50
RATE = 0.01
OPTIMIZER = f"sgd:lr={RATE},momentum=0.9"
NOTE = f"""\
A CNN of two convolutions (8 and 16 channels) on {TRAIN} Fashion-MNIST images, shared out evenly
among {DEVICES} devices, {ROUNDS} rounds of one pass each, batches of {BATCH},
`{OPTIMIZER}`, codec `none`, scored on all 10000 test images. Each run is
replayed by torch alone: the same batches, in the order in which the server trained on them. Mean
and standard deviation over the seeds, of the difference of each pair too, and the largest; losses
are compared over each device's first {COMPARED_STEPS} steps, in a relay the first device's,
and over the whole run, in which rounding grows. Modes are
compared with their twins here, not with one another: where a step is made for each device,
the back half steps {DEVICES} times as often at the same rate."""
MOVED = """\
What crosses the sockets in a run, in kB, all devices together. `Up` and `Down` are everything,
headers, the bundle that each device fetches and all; the others are parts of it."""


def run_mode(mode: str, seed: int, data: Path, folder: Path) -> dict[str, Any]:
    """One run and its twin.

    Args:
        mode: Name of the mode.
        seed: Of weights, batches and partition.
        data: The data set.
        folder: Where the run happens.

    Returns:
        A row of the result file.
    """
    bundle = make_bundle(folder / "bundle", mode, seed)
    site = Site.make(folder, bundle.path, data, DEVICES)
    server, devices = run_site(
        site,
        wait_s=WAIT_S,
        # Devices that have the head evaluate on their own test splits.
        data=None if mode == U_SHAPED.name else data,
        mode=mode,
        rounds=ROUNDS,
        batch_size=BATCH,
        optimizer=OPTIMIZER,
        codec_up="none",
        codec_down="none",
        partition="iid",
        seed=seed,
    )
    result = server.finished()
    twin = make_twin(mode, bundle, data, seed)
    twin.replay(server.seen, site.names)
    gaps = [
        np.abs(np.subtract(device.losses, losses))
        for device, losses in zip(devices, twin.losses, strict=True)
    ]
    # In a relay, the others begin when the first has made its steps of the round.
    first = gaps[:1] if mode == RELAY.name else gaps
    totals = [device.totals for device in result.devices]
    return {
        "mode": mode,
        "seed": seed,
        "loss_gap": float(max(gap[:COMPARED_STEPS].max() for gap in first)),
        "loss_gap_whole_run": float(max(gap.max() for gap in gaps)),
        "accuracy": result.accuracy,
        "accuracy_twin": twin.accuracy(bundle, data),
        "seconds": result.seconds,
        "bytes_up": sum(device.bytes_up for device in result.devices),
        "bytes_down": sum(device.bytes_down for device in result.devices),
        "smashed_bytes": sum(total.smashed_bytes for total in totals),
        "gradient_bytes": sum(total.gradient_bytes for total in totals),
        "target_bytes": sum(total.target_bytes for total in totals),
        "front_bytes_up": sum(total.front_bytes_up for total in totals),
        "front_bytes_down": sum(total.front_bytes_down for total in totals),
    }


def make_bundle(folder: Path, mode: str, seed: int) -> Bundle:
    """The model, cut behind its first pooling, and behind its first dense layer for a head."""
    return export_bundle(
        model="cnn",
        kwargs={"channels": [8, 16], "hidden": 64},
        cut="pool1",
        head_cut="relu3" if mode == U_SHAPED.name else "",
        input_shape=(1, 28, 28),
        out=folder,
        num_classes=10,
        seed=seed,
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.286,), std=(0.353,)),
    ).bundle


def make_twin(mode: str, bundle: Bundle, data: Path, seed: int) -> ModeTwin:
    """A twin that draws what the devices of a run draw."""
    draws = [
        device_batches(
            bundle, data, index=i, count=DEVICES, batch_size=BATCH, scheme="iid", seed=seed
        )[0]
        for i in range(DEVICES)
    ]

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=RATE, momentum=0.9)

    if mode == U_SHAPED.name:
        return UShapedTwin(bundle, draws, make)
    return ModeTwin(mode, *torch_halves(bundle), draws, make)


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds of each mode."""
    found = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        own = [row for row in rows if row["mode"] == mode]
        gaps = [100 * (row["accuracy"] - row["accuracy_twin"]) for row in own]
        means = {
            name: statistics.fmean(row[name] for row in own)
            for name in own[0]
            if name.endswith("bytes") or "bytes_" in name
        }
        found.append(
            {
                "mode": mode,
                "seeds": len(own),
                "loss_gap": max(row["loss_gap"] for row in own),
                "loss_gap_whole_run": max(row["loss_gap_whole_run"] for row in own),
                "difference_points": statistics.fmean(gaps),
                "difference_points_stdev": statistics.stdev(gaps),
                "largest_difference_points": max(map(abs, gaps)),
                **{
                    f"{name}_{figure.__name__}": figure([row[name] for row in own])
                    for name in ("accuracy", "accuracy_twin")
                    for figure in (statistics.fmean, statistics.stdev)
                },
                **means,
            }
        )
    return found


def page(result: dict[str, Any]) -> str:
    """The page of a result: tables, and what made it."""
    made_by = {**result["machine"], **result["versions"]}
    rows = result["summary"]
    compared = [
        "| Mode | Accuracy | Of its twin | Difference | Largest | Gap of a loss | Whole run |",
        "|---|---|---|---|---|---|---|",
    ]
    moved = [
        "| Mode | Up | Down | Smashed data | Gradients | Labels | Fronts up | Fronts down |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        scores = [
            f"{100 * row[f'{name}_fmean']:.2f} ± {100 * row[f'{name}_stdev']:.2f} %"
            for name in ("accuracy", "accuracy_twin")
        ]
        compared.append(
            f"| `{row['mode']}` | {scores[0]} | {scores[1]} "
            f"| {row['difference_points']:+.2f} ± {row['difference_points_stdev']:.2f} points "
            f"| {row['largest_difference_points']:.2f} | {row['loss_gap']:.1e} "
            f"| {row['loss_gap_whole_run']:.1e} |"
        )
        shown = [row[name] for name in ("bytes_up", "bytes_down", "smashed_bytes")]
        shown += [row[name] for name in ("gradient_bytes", "target_bytes")]
        shown += [row[name] for name in ("front_bytes_up", "front_bytes_down")]
        moved.append(f"| `{row['mode']}` | " + " | ".join(f"{n / 1e3:.1f}" for n in shown) + " |")
    parts = [
        "# Modes of split learning, against torch",
        NOTE,
        "\n".join(compared),
        MOVED,
        "\n".join(moved),
        f"```sh\ncd tests && {result['command']}\n```",
        ", ".join(f"{name} {value}" for name, value in made_by.items())
        + f", {len(result['sources'])} seeds from 0, {result['date']}.",
    ]
    return "\n\n".join(parts) + "\n"


def first_images(source: Path, folder: Path) -> Path:
    """A data set of the first training images of another, and all its test images."""
    folder.mkdir(parents=True)
    for split, name, count in (("train", "train", TRAIN), ("test", "t10k", None)):
        dataset = open_dataset(source, split=split, input_shape=(1, 28, 28), num_classes=10)
        images = np.asarray(dataset.images[:count]).reshape(-1, 28, 28).astype(np.uint8)
        write_idx(folder / f"{name}-images-idx3-ubyte", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte", dataset.labels[:count].astype(np.uint8))
    return folder


def main() -> None:
    """Run every mode with every seed, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m harness.modes")
    parser.add_argument("--data", type=Path, required=True, help="folder of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=RUNS, help="where finished runs are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.runs.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as root:
        data = first_images(args.data, Path(root) / "data")
        for mode, seed in itertools.product(mode_names(), range(args.seeds)):
            kept = args.runs / f"{mode}-{seed}.json"
            if not kept.exists():
                with tempfile.TemporaryDirectory() as folder:
                    row = run_mode(mode, seed, data, Path(folder))
                kept.write_text(json.dumps(row) + "\n")
                sys.stderr.write(f"{row}\n")
            rows.append(json.loads(kept.read_text()))
    result = {
        "command": f"python -m harness.modes --data {args.data}",
        "date": str(date.today()),  # noqa: DTZ011
        "machine": machine(),
        "versions": versions(),
        "sources": [{"seed": seed} for seed in range(args.seeds)],
        "summary": summary(rows),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(page(result))


if __name__ == "__main__":
    main()
