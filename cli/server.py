"""``slfac server``: train the back half for the devices of a run."""

from __future__ import annotations

import argparse
from typing import Any

from slfac.cli.imports import import_from_here
from slfac.cli.parsers import add_command, given
from slfac.cli.threads import limit_threads
from slfac.server.options import EPILOG, add_options


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    add_options(
        add_command(
            subparsers,
            "server",
            summary="train the back half for devices",
            epilog=EPILOG,
            run=run,
        )
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
    from slfac.server.command import serve

    serve(given(args))
    return 0
