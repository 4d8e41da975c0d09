"""``slfac export infer``: write what a run has trained as one plain ONNX file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slfac.cli.imports import import_from_here
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.export import InferExport

_EPILOG = """\
examples:
  slfac export infer --bundle bundle --checkpoint runs/a/checkpoint --out model.onnx
  slfac export infer --bundle bundle --checkpoint runs/a/checkpoint/best --out model.onnx \\
      --with-preprocessing uint8
  slfac export infer --bundle bundle --checkpoint runs/a/checkpoint/round-000003 \\
      --part front --out front.onnx
"""
_KILO = 1000
_USAGE = "slfac export [options]\n       slfac export infer [options]"


def add_parser(export: argparse.ArgumentParser) -> None:
    """Register the subcommand.

    Args:
        export: The parser of ``slfac export``, which has all its own options by now.
    """
    # What stands before the word infer is parsed by the parent, and would be lost unsaid.
    others = {k: v for k, v in vars(export.parse_args([])).items() if k not in {"out", "run"}}
    actions = export.add_subparsers(title="after training", metavar="infer", prog="slfac export")
    export.usage = _USAGE
    summary = "write the trained model as one plain ONNX file"
    parser: argparse.ArgumentParser = actions.add_parser(
        "infer",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="DIR", help="bundle that was trained")
    add(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="DIR",
        help="a run's folder checkpoint (its last round), or best or a round in it",
    )
    add("--out", type=Path, required=True, metavar="FILE", help="the ONNX file to write")
    add(
        "--part",
        choices=("front", "whole"),
        default="whole",
        help="the front alone, or front and back (whole)",
    )
    add(
        "--with-preprocessing",
        nargs="?",
        choices=("uint8", "float32"),
        const="uint8",
        default=None,
        help="take values as they are stored (uint8) and scale and normalise them in the graph",
    )
    add(
        "--allow-factories",
        metavar="A,B",
        default=None,
        help="factories (MODULE or MODULE:NAME) that may build the back half (slfac's own)",
    )
    add("--force", action="store_true", help="replace a file that is there")
    parser.set_defaults(run=lambda args: run(args, others))


def run(args: argparse.Namespace, others: dict[str, object]) -> int:
    """Run the subcommand.

    Args:
        args: What the parser made.
        others: Options of ``slfac export`` that it has no use for, with their defaults.

    Returns:
        The exit code.

    Raises:
        SettingsError: An option of ``slfac export`` was given as well.
        BundleError: The bundle or checkpoint cannot be used.
        ExportError: The file cannot be written, or failed its check.
    """
    for name, default in others.items():
        if getattr(args, name, default) != default:
            option = name.replace("_", "-")
            raise SettingsError(f"slfac export infer takes no --{option}", "leave it out")
    import_from_here()
    from slfac.export import export_infer
    from slfac.wire.factories import DEFAULT_ALLOWED

    allow = tuple(name for name in (args.allow_factories or "").split(",") if name)
    result = export_infer(
        bundle=args.bundle,
        checkpoint=args.checkpoint,
        out=args.out,
        part=args.part,
        stored=args.with_preprocessing,
        allow=allow or DEFAULT_ALLOWED,
        force=args.force,
        on_progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    _print_result(result)
    return 0


def _print_result(result: InferExport) -> None:
    agreement = result.agreement
    classes = (
        ""
        if agreement.same_class is None
        else f", the same class for {agreement.same_class} of {agreement.samples} samples"
    )
    print(
        f"onnxruntime against infer.onnx and torch: max rel {agreement.max_rel:.1e}, "
        f"allowed {agreement.tolerance:.1e}{classes}"
    )
    print(
        f"{result.path} ({result.length_bytes / _KILO:.1f} kB, "
        f"after {result.finished_rounds} rounds)"
    )
