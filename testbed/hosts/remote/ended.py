"""Runs a program to its end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

_TIMEOUT_S: Final = 60.0


def ended(
    command: Sequence[str],
    *,
    given: str = "",
    timeout_s: float = _TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without a shell.

    Args:
        command: The program and its arguments.
        given: Its standard input.
        timeout_s: How long it may take.
        environment: What it gets beside this process's own.

    Returns:
        How it ended; one that cannot be run, or takes too long, ends with code 1 and says why.
    """
    try:
        return subprocess.run(  # noqa: S603 - a list of arguments, no shell
            list(command),
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(list(command), 1, "", str(error))
