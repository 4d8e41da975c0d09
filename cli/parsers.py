"""What every subcommand's parser has."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from typing import Any

_FIELD = re.compile(r"[a-z][a-z0-9_]*=")


def add_command(
    subparsers: Any,
    name: str,
    *,
    summary: str,
    epilog: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """Register a subcommand.

    Arguments that are not given are left out of the namespace, so that defaults live in
    the settings alone.

    Args:
        subparsers: The main parser's subparsers.
        name: Its name.
        summary: One line for the list of commands and for its own help.
        epilog: What it ends with: an example.
        run: Runs it.

    Returns:
        The parser, to add arguments to.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=run)
    return parser


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments that were given, as settings.

    Args:
        args: The parsed command line.
    """
    return {k: v for k, v in vars(args).items() if k not in {"command", "debug", "run"}}


def split_specs(text: str) -> tuple[str, ...]:
    """Split codec specs at commas; a piece like ``bmin=2`` belongs to the spec before it.

    Args:
        text: Such as ``none,slfac:theta=0.9,bmin=2,fp16``.

    Returns:
        The specs, unchecked.
    """
    specs: list[str] = []
    for piece in text.split(","):
        if specs and _FIELD.match(piece):
            specs[-1] += f",{piece}"
        else:
            specs.append(piece)
    return tuple(specs)


def integers(text: str) -> tuple[int, ...]:
    """Read whole numbers separated by commas, for argparse.

    Args:
        text: Such as ``0,1,2``.

    Returns:
        The numbers, unchecked otherwise.

    Raises:
        argparse.ArgumentTypeError: A piece is none.
    """
    try:
        return tuple(int(piece) for piece in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not whole numbers with commas between them, such as 0,1,2"
        ) from None


def json_value(text: str) -> Any:
    """Read a JSON value, for argparse.

    Args:
        text: Such as ``{"channels": [8]}``.

    Returns:
        The value.

    Raises:
        argparse.ArgumentTypeError: It is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object, for argparse.

    Args:
        text: Such as ``{"channels": [8]}``.

    Returns:
        The object.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    value = json_value(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object such as {{"hidden": 64}}')
    return value
