"""``slfac plan``: which cut and codec suit a board, before anything is run."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.imports import import_from_here
from slfac.cli.parsers import add_command, given, json_object, split_specs
from slfac.cli.tables import aligned, print_line
from slfac.cli.threads import limit_threads
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.testbed.plan.plan import Candidate, Plan

_EPILOG = """\
examples:
  slfac plan --model resnet18 --input 3x32x32 --classes 10 --board pi-4b --link wifi-20 --data 5000
  slfac plan --model cnn --input 1x28x28 --classes 10 --board ./measured.toml --link wifi \\
      --data mnist --codec none,fp16,slfac --server-ms 4 --out plan
  slfac plan --bundle cut1 --bundle cut2 --board pi-4b --link 20mbit/5ms --data 5000 \\
      --explain layer2 slfac

Nothing is run on the board: figures come from its profile, or are carried over from a measured
machine by what is published of both, and each says which. docs/plan.md says how.
"""
_SHAPE = re.compile(r"\d{1,5}(x\d{1,5}){0,3}")


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "plan",
        summary="predict time, energy, bytes and memory of each cut and codec on a board",
        epilog=_EPILOG,
        run=run,
    )
    add = parser.add_argument_group("what is trained").add_argument
    add(
        "--bundle",
        dest="bundles",
        action="append",
        type=Path,
        metavar="DIR",
        help="a bundle of one cut; give it once for each",
    )
    add("--model", metavar="NAME", help="a model instead, of which all cuts are tried")
    add("--kwargs", type=json_object, metavar="JSON", help="arguments of the model")
    add("--weights", type=Path, metavar="FILE", help="its weights (fresh ones)")
    add("--input", dest="input_shape", type=_shape, metavar="CxHxW", help="shape of one sample")
    add("--classes", dest="num_classes", type=int, metavar="N", help="width of its output")
    add("--cuts", type=_cuts, metavar="A,B", help="cuts to try (all where one tensor crosses)")
    add("--loss", choices=("cross_entropy", "bce_with_logits", "mse"), help="(cross_entropy)")
    add("--codec", dest="codecs", type=split_specs, metavar="A,B", help="codecs (none,slfac)")
    add("--batch-size", type=int, metavar="N", help="samples of a step (32)")
    add("--data", required=True, metavar="N|PATH", help="samples on the board, or a data set")
    add("--rounds", type=int, metavar="N", help="rounds of a run (1)")
    add("--seed", type=int, metavar="N", help="of weights and synthetic input (0)")
    add = parser.add_argument_group("where").add_argument
    add("--board", required=True, metavar="NAME", help="a profile, by name or as a .toml file")
    add("--mode", metavar="NAME", help="its power mode (the one of which most is known)")
    add("--device", choices=("cpu", "cuda"), help="where fronts run (cpu)")
    add("--threads", type=int, metavar="N", help="threads of onnxruntime (1)")
    add("--link", required=True, help="wifi, wifi-20 (Mbit/s), wifi-20/5ms, or 20mbit/5ms")
    add("--server-ms", type=float, metavar="MS", help="the server's time of a step (measured here)")
    add = parser.add_argument_group("what is shown").add_argument
    add("--explain", nargs="*", metavar="CUT CODEC", help="where each figure is from")
    add("--json", action="store_true", help="print one JSON object")
    add("--out", type=Path, metavar="DIR", help="write plan.json, .md, .svg and .png there")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: An option is wrong, or there is nothing to predict from.
        SlfacError: A model, a bundle, a codec or the data cannot be used.
        MissingExtraError: matplotlib is missing, which --out needs.
    """
    values = given(args)
    limit_threads(blas=1, openmp=1)
    explain = values.pop("explain", None)
    as_json = values.pop("json", False)
    out: Path | None = values.pop("out", None)
    if explain is not None and len(explain) not in {0, 2}:
        raise SettingsError(
            f"--explain has {len(explain)} words", "give a cut and a codec, or none"
        )
    if out is not None:
        _check_out(out)
    values["bundles"] = tuple(values.get("bundles", ()))
    import_from_here()
    from slfac.testbed.plan.files import plan_document
    from slfac.testbed.plan.plan import PlanSettings, make_plan

    command = "slfac " + shlex.join(sys.argv[1:])
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    plan = make_plan(PlanSettings(**values), _say)
    shown = None if explain is None else _find(plan, explain)
    if as_json:
        print(json.dumps(plan_document(plan, command=command, date=date), indent=2))
    else:
        _print(plan)
        if shown is not None:
            _explain(shown)
    if out is not None:
        from slfac.testbed.plan.files import write_plan

        for path in write_plan(plan, out, command=command, date=date):
            _say(f"wrote {path}")
    return 0


def _check_out(out: Path) -> None:
    """Refuse before minutes have passed what could not be written behind them."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"--out is {str(out)!r}: {error.strerror}", "name a folder that can be written"
        ) from error


def _print(plan: Plan) -> None:
    from slfac.testbed.plan.words import HEADER, rows, sentences

    for line in aligned([HEADER, *rows(plan)]):
        print_line(line)
    for line in sentences(plan):
        print_line(line)


def _explain(candidate: Candidate) -> None:
    from slfac.testbed.plan.words import explained

    print_line("")
    print_line(f"{candidate.name}: where each figure of a step is from")
    for line in aligned(explained(candidate)):
        print_line(line)


def _find(plan: Plan, words: list[str]) -> Candidate:
    if not words:
        return next((c for c in plan.candidates if c.on_front), plan.candidates[0])
    from slfac.codec import make_codec

    cut, codec = words
    spec = make_codec(codec).spec
    for candidate in plan.candidates:
        if (candidate.cut, candidate.codec) == (cut, spec):
            return candidate
    names = ", ".join(dict.fromkeys(c.cut for c in plan.candidates))
    raise SettingsError(f"--explain names {cut!r} with {codec!r}", f"cuts are {names}")


def _shape(text: str) -> tuple[int, ...]:
    sizes = tuple(map(int, text.split("x"))) if _SHAPE.fullmatch(text) else ()
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape such as 3x32x32")
    return sizes


def _cuts(text: str) -> tuple[str, ...]:
    return () if text == "all" else tuple(text.split(","))


def _say(line: str) -> None:
    print(f"slfac plan: {line}", file=sys.stderr, flush=True)
