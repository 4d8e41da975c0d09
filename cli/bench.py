"""``slfac bench``: measure codecs on tensors of real training, fronts, and steps in parts."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command, given, integers, json_object, split_specs
from slfac.cli.threads import limit_threads
from slfac.wire.errors import SettingsError

_EPILOG = """\
examples:
  slfac bench codec
  slfac bench codec --codec slfac,uniform:bits=4 --json bench.json
  slfac bench front --front resnet18,vit
  slfac bench overlap
  slfac bench simulate
"""
_OVERLAP_EPILOG = """\
examples:
  slfac bench overlap
  slfac bench overlap --link 20Mbit --parts 4 --delay-ms 2 --json overlap.json

One device and a server on this machine, over a link that is held to a rate; docs/bench.md says
what each column is.
"""
_SIMULATE_EPILOG = """\
examples:
  slfac bench simulate
  slfac bench simulate --codec slfac-rd --devices 20 --torch-device cuda --json simulate.json

The same run twice: with real processes and sockets on this machine, and simulated; docs/simulate.md
says what each column is.
"""
_FRONT_EPILOG = """\
examples:
  slfac bench front
  slfac bench front --front cnn-pool1,mobilenet_v2 --json fronts.json

Times are of one thread, the best of several; docs/bench.md says what each column is.
"""
_PREDICT_EPILOG = """\
examples:
  slfac bench predict --json predict.json
  slfac bench predict --model cnn,resnet18 --batch-size 8 --sweeps 3 --bundles fronts

Every cut between blocks is exported, timed, and half of them predicted from the other half;
docs/plan.md says what came of it. Exporting takes most of the time: --bundles keeps the fronts.
"""
_CODEC_EPILOG = """\
examples:
  slfac bench codec
  slfac bench codec --codec none,fp16,slfac:theta=0.9,bmin=2,bmax=8 --json bench.json
  slfac bench codec --capture cnn.npz --data /usr/share/datasets/fashion-mnist
  slfac bench codec --tensors cnn.npz --repeat 20

Times are of one thread, the best of several; docs/bench.md says what each column is.
"""
_CAPTURE = ("model", "kwargs", "cut", "data", "steps", "batch_size", "keep", "seed")
_MEASURE = ("codecs", "tensors", "json", "repeat")


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "bench",
        summary="measure codecs on tensors of real training, fronts, and steps in parts",
        epilog=_EPILOG,
        run=run,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    front = add_command(
        actions,
        "front",
        summary="time and memory of a device's training step, beside torch's",
        epilog=_FRONT_EPILOG,
        run=run_front,
    )
    add = front.add_argument
    add("--front", metavar="A,B", dest="fronts", type=_names, help="fronts to measure (all)")
    add("--batch-size", type=int, metavar="N", help="samples of a step (16)")
    add("--repeat", type=int, metavar="N", help="take the best of N timings (30)")
    add("--json", type=Path, metavar="FILE", help="also write all figures to a JSON file")
    _add_overlap(actions)
    _add_simulate(actions)
    _add_predict(actions)
    codec = add_command(
        actions,
        "codec",
        summary="bytes, error, time and memory of codecs",
        epilog=_CODEC_EPILOG,
        run=run,
    )
    add = codec.add_argument
    add("--codec", metavar="A,B", dest="codecs", type=split_specs, help="specs to measure (all)")
    add("--tensors", type=Path, metavar="PATH", help=".npz file, or folder of them (slfac's own)")
    add("--json", type=Path, metavar="FILE", help="also write all figures to a JSON file")
    add("--repeat", type=int, metavar="N", help="take the best of N timings (7)")
    add = codec.add_argument_group("to make such a .npz file from real training").add_argument
    add("--capture", type=Path, metavar="FILE", help="train, and write tensors at the cut")
    add("--model", metavar="NAME", help="model of slfac.export.models: cnn, resnet18 (cnn)")
    add("--kwargs", type=json_object, metavar="JSON", help="more arguments of the model")
    add("--cut", metavar="NODE", help="its cut layer (pool1 of cnn, layer2 of resnet18)")
    add("--data", type=Path, metavar="DIR", help="IDX folder (fetches 5000 MNIST images)")
    add("--steps", type=integers, metavar="N,N", help="steps to capture (5,100,300)")
    add("--batch-size", type=int, metavar="N", help="samples of a step (64)")
    add("--keep", type=int, metavar="N", help="samples of a step to write, 0 for all (0)")
    add("--seed", type=int, metavar="N", help="seed of weights and batches (0)")


def _add_overlap(actions: Any) -> None:
    overlap = add_command(
        actions,
        "overlap",
        summary="time of a step in parts over a slow link, beside what it may take",
        epilog=_OVERLAP_EPILOG,
        run=run_overlap,
    )
    add = overlap.add_argument
    add("--link", metavar="A,B", dest="links", type=_names, help="rates (2Mbit,5Mbit,20Mbit)")
    add("--codec", metavar="A,B", dest="codecs", type=split_specs, help="codecs both ways (slfac)")
    add("--parts", type=integers, metavar="N,N", help="numbers of micro-batches (2,4,8)")
    add("--blocks", type=integers, metavar="N,N", help="numbers of blocks (4)")
    add("--delay-ms", type=float, metavar="MS", help="of the link, one way (10)")
    add("--batch-size", type=int, metavar="N", help="samples of a step (32)")
    add("--steps", type=int, metavar="N", help="steps of a run (25)")
    add("--seed", type=int, metavar="N", help="seed of weights, images and batches (0)")
    add("--json", type=Path, metavar="FILE", help="also write all figures to a JSON file")


def _add_simulate(actions: Any) -> None:
    simulate = add_command(
        actions,
        "simulate",
        summary="time, losses and bytes of a simulated run, beside those of a real one",
        epilog=_SIMULATE_EPILOG,
        run=run_simulate,
    )
    add = simulate.add_argument
    add("--codec", metavar="A,B", dest="codecs", type=split_specs, help="codecs both ways (three)")
    add("--devices", type=int, metavar="N", help="devices of a run (5)")
    add("--batch-size", type=int, metavar="N", help="samples of a step (32)")
    add("--steps-per-round", type=int, metavar="N", help="steps of a device in a round (20)")
    add("--torch-device", choices=("auto", "cpu", "cuda"), help="of server and simulation (auto)")
    add("--seed", type=int, metavar="N", help="seed of weights, images and batches (0)")
    add("--json", type=Path, metavar="FILE", help="also write all figures to a JSON file")


def _add_predict(actions: Any) -> None:
    predict = add_command(
        actions,
        "predict",
        summary="how well times of fronts are predicted that were not measured",
        epilog=_PREDICT_EPILOG,
        run=run_predict,
    )
    add = predict.add_argument
    add("--model", metavar="A,B", dest="models", type=_names, help="models to cut (all three)")
    add("--batch-size", metavar="N,N", dest="batch_sizes", type=integers, help="samples (8,32)")
    add("--sweeps", type=int, metavar="N", help="how often everything is timed (5)")
    add("--bundles", type=Path, metavar="DIR", help="keep exported fronts there, and use them")
    add("--times", type=Path, metavar="FILE", help="take the times of an earlier --json file")
    add("--json", type=Path, metavar="FILE", help="write all figures, and a page beside it")
    add(
        "--profile", type=Path, metavar="FILE", help="write this machine's profile for `slfac plan`"
    )


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: An option does not go with ``--capture``, or needs it.
    """
    values = given(args)
    del values["action"]
    capturing = "capture" in values
    for name in _MEASURE if capturing else _CAPTURE:
        if name in values:
            option = "--" + ("codec" if name == "codecs" else name.replace("_", "-"))
            raise SettingsError(
                f"{option} {'does not go with' if capturing else 'needs'} --capture",
                "capture first, then measure the file with --tensors",
            )
    values["command"] = "slfac " + shlex.join(sys.argv[1:])
    return _capture(values) if capturing else _measure(values)


def run_front(args: argparse.Namespace) -> int:
    """Run ``slfac bench front``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    values = _alone(args)
    from rich.console import Console

    from slfac.testbed.bench.front import FrontBenchSettings, run_front_bench

    run_front_bench(FrontBenchSettings(**values), Console())
    return 0


def run_overlap(args: argparse.Namespace) -> int:
    """Run ``slfac bench overlap``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    values = _alone(args)
    from rich.console import Console

    from slfac.testbed.bench.overlap import OverlapSettings, run_overlap_bench

    run_overlap_bench(OverlapSettings(**values), Console())
    return 0


def run_simulate(args: argparse.Namespace) -> int:
    """Run ``slfac bench simulate``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    values = given(args)
    del values["action"]
    from rich.console import Console

    from slfac.testbed.bench.simulate import SimulateBenchSettings, run_simulate_bench

    command = "slfac " + shlex.join(sys.argv[1:])
    run_simulate_bench(SimulateBenchSettings(**values, command=command), Console())
    return 0


def run_predict(args: argparse.Namespace) -> int:
    """Run ``slfac bench predict``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    values = _alone(args)
    from rich.console import Console

    from slfac.testbed.plan.predict import PredictSettings, run_predict_bench

    run_predict_bench(PredictSettings(**values), Console())
    return 0


def _alone(args: argparse.Namespace) -> dict[str, Any]:
    """What was given for a measurement of times, for which the libraries get one thread."""
    values = given(args)
    del values["action"]
    limit_threads(blas=1, openmp=1)
    return {**values, "command": "slfac " + shlex.join(sys.argv[1:])}


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _measure(values: dict[str, Any]) -> int:
    limit_threads(blas=1, openmp=1)
    from rich.console import Console

    from slfac.testbed.bench.run import BenchSettings, run_bench

    run_bench(BenchSettings(**values), Console())
    return 0


def _capture(values: dict[str, Any]) -> int:
    limit_threads(blas=1)
    from rich.console import Console

    from slfac.testbed.bench.capture import CaptureSettings, run_capture

    out = values.pop("capture")
    run_capture(CaptureSettings(out=out, **values), Console())
    return 0
