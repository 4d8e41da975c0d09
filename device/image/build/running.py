"""Runs programs that start others in a namespace, and ends all of them together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from slfac.device.image.programs import wide_path
from slfac.wire.errors import ImageError

_LAST_LINES = 6
_GRACE_S = 5.0


def run_lines(
    command: Sequence[str],
    *,
    on_line: Callable[[str], None],
    given: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a program that says on standard error what it does.

    Args:
        command: The program and its arguments.
        on_line: Told each line.
        given: The file that it reads as standard input.
        env: What its environment has besides this process's.

    Raises:
        ImageError: It failed; with its last lines.
    """
    last: list[str] = []
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(given.open("rb")) if given is not None else None
        process = stack.enter_context(_started(command, source, env))
        for line in process.stderr or ():
            last = [*last, line.strip()][-_LAST_LINES:]
            on_line(line.rstrip())
        code = process.wait()
    if code:
        raise ImageError(
            f"{command[0]} failed: {' | '.join(filter(None, last))}",
            "check the network and the free space",
        )


@contextlib.contextmanager
def _started(
    command: Sequence[str], source: IO[bytes] | None, env: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        command,
        stdin=source if source is not None else subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "PATH": wide_path(), **(env or {})},
        start_new_session=True,
    ) as process:
        try:
            yield process
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen[str]) -> None:
    """End it and what it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        # The first process of a namespace heeds no signal but the second; all others go with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
