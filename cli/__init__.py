"""The one command, ``slfac``: thin subcommands that import their folder when they run."""

from slfac.cli.main import main

__all__ = ["main"]
