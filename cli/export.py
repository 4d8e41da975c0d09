"""``slfac export``: cut a model and write the bundle that devices train from."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli import export_infer
from slfac.cli.imports import import_from_here
from slfac.cli.parsers import add_command
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.export import Check, Cut, ExportResult

_EPILOG = """\
examples:
  slfac export --model cnn --cut pool1 --input 1x28x28 --classes 10 --out bundle
  slfac export --model resnet18 --kwargs '{"stem": "imagenet"}' --input 3x224x224 \\
      --classes 7 --list-cuts
  slfac export --model mynet:make --weights mynet.safetensors --input 3x64x64 \\
      --cut features.3 --freeze-bn --train-from features.2 --out bundle
  slfac export --onnx net.onnx --list-cuts

after training, one ONNX file of the model: slfac export infer --help
"""
_KILO = 1000
_MEGA = 1_000_000


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: What ``ArgumentParser.add_subparsers`` gave.
    """
    parser = add_command(
        subparsers,
        "export",
        summary="cut a model and write its bundle",
        epilog=_EPILOG,
        run=run,
    )
    parser.add_argument(
        "--model",
        default=None,
        metavar="MODEL",
        help="a model that comes with slfac, such as cnn, the default, or "
        "package.module:function, found in this folder too; behind another colon its "
        "arguments as JSON",
    )
    parser.add_argument(
        "--kwargs", default="{}", metavar="JSON", help="more arguments of the model"
    )
    parser.add_argument(
        "--weights", type=Path, default=None, metavar="FILE", help="the model's state, safetensors"
    )
    parser.add_argument(
        "--onnx", type=Path, default=None, metavar="FILE", help="a model as an ONNX file, instead"
    )
    parser.add_argument("--cut", default=None, help="where the front ends, as --list-cuts says")
    parser.add_argument(
        "--head-cut",
        default="",
        metavar="NODE",
        help="a later cut: what follows it, labels and loss stay on the devices (mode u-shaped)",
    )
    parser.add_argument(
        "--input",
        default=None,
        metavar="CxHxW",
        help="shape of one sample; not needed where the file of --onnx says it",
    )
    parser.add_argument("--classes", default=None, type=int, help="width of the model's output")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="the bundle's folder")
    parser.add_argument(
        "--list-cuts",
        nargs="?",
        choices=("one", "all"),
        const="one",
        default=None,
        help="print every cut where one tensor crosses, or all cuts, and stop",
    )
    _add_training(parser)
    export_infer.add_parser(parser)


def _add_training(parser: argparse.ArgumentParser) -> None:
    """Options of what the bundle trains, and on which values."""
    parser.add_argument(
        "--freeze-bn",
        action="store_true",
        default=False,
        help="leave BatchNorm's statistics on the devices, and normalise with them",
    )
    parser.add_argument(
        "--train-from",
        default=None,
        metavar="NODE",
        help="train the front from this module or node on; what comes before stays",
    )
    parser.add_argument(
        "--recompute",
        action="store_true",
        default=False,
        help="run the front's forward pass anew in the backward, to hold less in between",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights")
    _add_task_options(parser)


def _add_task_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--loss", default="cross_entropy", choices=("cross_entropy", "bce_with_logits", "mse")
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1 / 255,
        help="multiplies stored values (1/255: 8-bit images)",
    )
    parser.add_argument(
        "--mean",
        default="0",
        help="subtracted after scaling; one value, or one a channel: 0.5,0.4,0.3",
    )
    parser.add_argument("--std", default="1", help="divides after that; as --mean")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: What the parser made.

    Returns:
        The exit code.

    Raises:
        SettingsError: An argument cannot be read.
        ExportError: The model cannot be exported, or its graphs failed their proof.
        BundleError: The bundle cannot be written.
    """
    if args.input is None and args.onnx is None:
        raise SettingsError("--input is needed", "give the shape of one sample, such as 1x28x28")
    shape = None if args.input is None else _parse_shape(args.input)
    model, kwargs = _parse_model(args.model or "cnn", args.kwargs)
    if args.onnx and (args.model or args.weights or args.kwargs != "{}"):
        raise SettingsError("--onnx holds the model", "leave out --model, --kwargs and --weights")
    import_from_here()
    if args.list_cuts:
        from slfac.export import model_cuts

        cuts = model_cuts(
            model=model,
            kwargs=kwargs,
            onnx=args.onnx,
            input_shape=shape,
            num_classes=args.classes,
        )
        _print_cuts(cuts, every=args.list_cuts == "all")
        return 0
    if args.cut is None or args.out is None:
        raise SettingsError("--cut and --out are needed", "or give --list-cuts to see the cuts")
    preprocessing_numbers = {
        "mean": _parse_floats("--mean", args.mean),
        "std": _parse_floats("--std", args.std),
    }
    from slfac.export import export_bundle
    from slfac.wire.manifest import Preprocessing

    result = export_bundle(
        model=model,
        kwargs=kwargs,
        weights=args.weights,
        onnx=args.onnx,
        cut=args.cut,
        head_cut=args.head_cut,
        input_shape=shape,
        out=args.out,
        num_classes=args.classes,
        seed=args.seed,
        freeze_bn=args.freeze_bn,
        train_from=args.train_from,
        recompute=args.recompute,
        preprocessing=Preprocessing(scale=args.scale, **preprocessing_numbers),
        loss=args.loss,
        on_progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    _print_checks(result.checks)
    _print_summary(result)
    return 0


def _parse_shape(text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 4 or not all(p.isascii() and p.isdigit() for p in parts):
        raise SettingsError(f"--input is {text!r}", "give a shape such as 1x28x28")
    shape = tuple(int(part) for part in parts)
    if not all(1 <= size <= 1 << 16 for size in shape):
        raise SettingsError(f"--input is {text!r}", "every size must be from 1 to 65536")
    return shape


def _parse_model(model: str, kwargs: str) -> tuple[str, dict[str, Any]]:
    """The factory's path and its arguments, which may stand behind it."""
    module, _, rest = model.partition(":")
    function, _, arguments = rest.partition(":")
    if not arguments:
        return model.rstrip(":"), _parse_kwargs("--kwargs", kwargs)
    if kwargs != "{}":
        raise SettingsError("--model and --kwargs both give arguments", "give them once")
    return f"{module}:{function}", _parse_kwargs("--model", arguments)


def _parse_kwargs(option: str, text: str) -> dict[str, Any]:
    try:
        kwargs = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{option}: the arguments are no JSON: {error}") from error
    if not isinstance(kwargs, dict):
        raise SettingsError(
            f"{option}: the arguments are {text!r}", "give an object such as '{\"hidden\": 64}'"
        )
    for name in [name for name in kwargs if name in {"num_classes", "input_shape"}]:
        raise SettingsError(f"{option} holds {name!r}", "give --classes and --input instead")
    return kwargs


def _parse_floats(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"{option} is {text!r}", "give numbers such as 0.5,0.4,0.3") from error


def _print_cuts(cuts: list[Cut], *, every: bool) -> None:
    listed = [cut for cut in cuts if every or len(cut.smashed_shapes) == 1]
    rows = [("cut", "smashed data", "bytes", "front", "forward", "backward", "share", "residuals")]
    rows += [
        (
            cut.name,
            " ".join("x".join(map(str, shape)) for shape in cut.smashed_shapes),
            f"{cut.smashed_bytes}",
            f"{cut.front_parameters}",
            f"{cut.forward_flops / _MEGA:.2f}",
            f"{cut.backward_flops / _MEGA:.2f}",
            f"{100 * cut.share:.1f} %",
            f"{cut.residual_bytes / _KILO:.0f}",
        )
        for cut in listed
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        print("  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]))
    print(
        "bytes: of the smashed data, a sample; front: its trainable values; forward, backward: "
        "MFLOP a sample;\nshare: of the whole model's FLOPs; residuals: kB a sample, held "
        "between forward and backward"
    )
    if len(listed) < len(cuts):
        print(f"--list-cuts all shows {len(cuts) - len(listed)} more, where several tensors cross")


def _print_checks(checks: list[Check]) -> None:
    print(
        f"{'onnxruntime against torch':<26} {'tensors':>7} {'max abs':>9} {'max rel':>9} "
        f"{'allowed':>9}"
    )
    for check in checks:
        print(
            f"{check.group:<26} {check.tensors:>7} {check.max_abs:>9.1e} {check.max_rel:>9.1e} "
            f"{check.tolerance:>9.1e}  {'ok' if check.ok else 'FAILED'}"
        )


def _print_summary(result: ExportResult) -> None:
    bundle = result.bundle
    sizes = ", ".join(
        f"{name} {entry.length_bytes / _KILO:.1f} kB"
        for name, entry in sorted(bundle.manifest.files.items())
    )
    print(f"{bundle.path} {bundle.id[:12]} ({sizes})")
