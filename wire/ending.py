"""How a command ends: one line for people, and an exit code."""

from __future__ import annotations

import os
import sys
from types import FrameType

from slfac.wire.errors import EXIT_INTERRUPTED, MissingExtraError, SlfacError

EXIT_TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is, with an exit code of its own."""


def terminate(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM.

    Args:
        number: The signal's number.
        frame: Where it struck.

    Raises:
        Terminated: Always.
    """
    del number, frame
    raise Terminated


def explain(name: str, error: BaseException, *, extra: str) -> int:
    """Say in one line on standard error what went wrong.

    Args:
        name: The command.
        error: What ended it.
        extra: The extra of slfac that has the packages which it needs.

    Returns:
        The exit code.
    """
    if isinstance(error, BrokenPipeError):
        flush_output()
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, ImportError) and not (error.name or "").startswith("slfac"):
        error = MissingExtraError(
            f"a package is missing: {error}",
            f"install slfac with its extra {extra!r}: pip install 'slfac[{extra}]', "
            f"or '.[{extra}]' in its source folder",
        )
    if isinstance(error, SlfacError):
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        terminated = isinstance(error, Terminated)
        print(f"{name}: {'terminated' if terminated else 'stopped'}", file=sys.stderr)
        return EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
    text = " ".join(str(error).split())
    print(
        f"{name}: internal error: {type(error).__name__}: {text}; "
        "run it again with --debug and report what it prints",
        file=sys.stderr,
    )
    return SlfacError.exit_code


def flush_output() -> None:
    """Flush; where the reader of our output has gone, keep Python from failing on it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
