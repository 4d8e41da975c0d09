"""``slfac server``: train the back half for the devices of a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from slfac.cli.imports import import_from_here
from slfac.cli.parsers import add_command, given
from slfac.cli.threads import limit_threads

_EPILOG = """\
examples:
  slfac keys new server --dir keys
  slfac keys enroll pi-1 pi-1/device.key --dir keys
  slfac server --bundle bundle --keys keys --data mnist --out runs/a --rounds 10
  slfac server --resume runs/a
  slfac server --config server.toml --out runs/b

Codecs: none, fp16, slfac:theta=0.9,bmin=2,bmax=8. Optimisers: sgd:lr=0.05,momentum=0.9,
adam:lr=0.001, adamw:lr=0.001, each with clip_norm=1 or clip_value=0.1. Schedules: constant,
linear:final=0, cosine:warmup=2,final=0.01, step:every=10,factor=0.1 (docs/guide.md).
Modes: parallel, sfl-v1, sfl-v2, relay, async:staleness=4 (docs/modes.md).
Partitions: own, iid, dirichlet:beta=0.5 (docs/data.md).

A file for --config holds the same settings, with _ for - (docs/server.toml). What is given
here goes before it. The bundle and the folder for results must be given in either place.
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "server",
        summary="train the back half for devices",
        epilog=_EPILOG,
        run=run,
    )
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="a TOML file of settings")
    add("--bundle", metavar="DIR", help="bundle to train")
    add("--out", metavar="DIR", help="where metrics and checkpoints go")
    add("--resume", metavar="DIR", help="go on with the run in DIR, with its settings")
    add("--bind", metavar="ADDRESS", help="tcp://HOST:PORT to listen on (tcp://0.0.0.0:5555)")
    add("--keys", metavar="DIR", help="the server's key folder")
    add(
        "--insecure",
        action=argparse.BooleanOptionalAction,
        help="work without keys, on loopback only",
    )
    add("--devices", metavar="A,B", type=_names, help="devices of the run (all enrolled)")
    add("--min-devices", type=int, metavar="N", help="start with N once the wait is over (all)")
    add("--join-timeout-s", type=float, metavar="S", help="how long to wait for devices (for ever)")
    add("--mode", metavar="SPEC", help="way of split learning (what the bundle was made for)")
    add("--rounds", type=int, metavar="N", help="rounds to train (10)")
    add("--steps-per-round", type=int, metavar="N", help="0: one pass over a device's data (0)")
    add("--batch-size", type=int, metavar="N", help="samples a device puts into a step (32)")
    add("--optimizer", metavar="SPEC", help="of the back half (sgd:lr=0.05,momentum=0.9)")
    add("--device-optimizer", metavar="SPEC", help="of the devices (the same)")
    add("--schedule", metavar="SPEC", help="of the learning rates of both halves (constant)")
    add("--codec", metavar="SPEC", help="codec both ways (slfac)")
    add("--codec-up", metavar="SPEC", help="codec of the smashed data")
    add("--codec-down", metavar="SPEC", help="codec of the gradients")
    add("--partition", metavar="SPEC", help="how data is shared out (own)")
    add("--seed", type=int, metavar="N", help="seed of everything random (0)")
    add("--data", metavar="PATH", help="data set with a test split, to evaluate each round")
    add(
        "--best-by",
        choices=("auto", "balanced_accuracy", "accuracy", "loss"),
        help="score that chooses checkpoint/best (auto: balanced accuracy, or loss)",
    )
    add("--early-stop", metavar="SPEC", help="end without gain: patience=3,min_delta=0.001 (no)")
    add("--grace-s", type=float, metavar="S", help="how long a lost device may stay away (60)")
    add("--idle-timeout-s", type=float, metavar="S", help="give up without devices after (600)")
    add("--step-timeout-s", type=float, metavar="S", help="go on without a silent device (600)")
    add("--step-deadline-s", type=float, metavar="S", help="make steps without the late (never)")
    add(
        "--torch-device",
        choices=("auto", "cpu", "cuda"),
        help="where the back half is (auto: CUDA where torch finds it)",
    )
    add("--threads", type=int, metavar="N", help="threads of torch (0: torch decides)")
    add(
        "--allow-factories",
        metavar="A,B",
        type=_names,
        help="factories (MODULE or MODULE:NAME) that may build back halves (slfac's own)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    # Torch has threads of its own; the codec's products are too small for several.
    limit_threads(blas=1)
    import_from_here()
    from slfac.server import Server, configured_settings, server_settings
    from slfac.server.config import split_codec

    values = given(args)
    if "resume" in values:
        values = _resume(values)
    file = values.pop("config", None)
    settings = (
        configured_settings(file, **values) if file else server_settings(**split_codec(values))
    )
    with Server(settings, _show) as server:
        result = server.run()
    print(f"{len(result.rounds)} rounds in {result.seconds:.1f} s, checkpoint {result.checkpoint}")
    for device in result.devices:
        print(
            f"  {device.name}: {device.totals.steps} steps, "
            f"{device.bytes_up / 1e6:.2f} MB up ({_ratio(device.float32_bytes_up, device.bytes_up)}"
            f" of float32), {device.bytes_down / 1e6:.2f} MB down "
            f"({_ratio(device.float32_bytes_down, device.bytes_down)})"
        )
    if result.accuracy is not None:
        print(f"accuracy {result.accuracy:.2%}")
    if result.best is not None:
        best = result.best
        print(f"best after round {best.round + 1}: {_score(best.measure, best.value)}")
    return 0


def _resume(values: dict[str, Any]) -> dict[str, Any]:
    from slfac.wire.errors import SettingsError

    for name in ("out", "config"):
        if name in values:
            raise SettingsError(
                f"--{name} {values[name]} is given, but --resume has the run's folder and settings",
                f"leave out --{name}",
            )
    return {**values, "out": values["resume"], "resume": True}


def _show(event: dict[str, Any]) -> None:
    kind = event["event"]
    if kind == "run":
        names = ", ".join(event["devices"])
        _say(f"run {event['run']} at {event['address']}, waiting for {names}")
    elif kind == "restarted":
        _say(
            f"run {event['run']} at {event['address']} goes on after {event['round']} of "
            f"{event['rounds']} rounds, waiting for {', '.join(event['missing'])}"
        )
    elif kind == "resumed":
        _say(f"{event['device']} goes on from the beginning of round {event['round'] + 1}")
    elif kind == "joined":
        missing = ", ".join(event["missing"])
        _say(f"{event['device']} joined" + (f"; missing: {missing}" if missing else ""))
    elif kind == "left":
        _say(f"{event['device']} left: {event['reason']}")
    elif kind == "early_stop":
        _say(f"early stop: no gain in {event['measure']} in {event['rounds_without_gain']} rounds")
    elif kind == "round":
        accuracy = event["accuracy"]
        scored = f", accuracy {accuracy:.2%}" if accuracy is not None else ""
        _say(
            f"round {event['round'] + 1}/{event['rounds']}: "
            f"training loss {event['train_loss']:.4f}{scored}, "
            f"{event['devices']} devices, {event['seconds']:.1f} s, "
            f"{event['bytes_up'] / 1e6:.2f} MB up, {event['bytes_down'] / 1e6:.2f} MB down so far"
        )


def _score(measure: str, value: float) -> str:
    name = measure.replace("_", " ")
    return f"{name} {value:.4f}" if measure == "loss" else f"{name} {value:.2%}"


def _ratio(float32_bytes: int, sent_bytes: int) -> str:
    return f"1/{float32_bytes / sent_bytes:.1f}" if sent_bytes else "-"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _say(line: str) -> None:
    print(f"slfac server: {line}", file=sys.stderr, flush=True)
