"""Runs slfac on this host: once, or for as long as somebody listens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from slfac.testbed.hosts.remote.ended import ended
from slfac.testbed.hosts.remote.lease import Lease
from slfac.testbed.hosts.remote.processes import MARK

_TICK_S: Final = 0.2
_GRACE_S: Final = 10.0


def call(*, command: list[str], folder: str, timeout_s: float = 60.0) -> dict[str, Any]:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        folder: The folder that it works for.
        timeout_s: How long it may take.

    Returns:
        Its exit code, and what it printed.
    """
    done = ended(command, timeout_s=timeout_s, environment={MARK: folder})
    return {"code": done.returncode, "out": done.stdout, "error": done.stderr}


def attend(*, command: list[str], folder: str) -> dict[str, Any]:
    """Run a program while somebody listens, and pass on what it prints.

    Args:
        command: The program and its arguments.
        folder: The folder that it works for.

    Returns:
        Its exit code.
    """
    try:
        child = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, MARK: folder},
        )
    except OSError as error:
        return {"code": 127, "error": str(error)}
    reader = threading.Thread(target=_pass_on, args=(child,), daemon=True)
    reader.start()
    lease = Lease()
    try:
        while child.poll() is None and lease.wait(_TICK_S):
            pass
    finally:
        _end(child)
    reader.join()
    return {"code": child.returncode}


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE_S)
        return
    child.kill()
    child.wait()


def _pass_on(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        for line in child.stdout or ():
            print(json.dumps({"line": line.decode("utf-8", "replace").rstrip()}), flush=True)


def clock() -> None:
    """Answer each line on standard input with the present time, until it ends."""
    for _ in sys.stdin:
        print(json.dumps({"time_s": time.time()}), flush=True)


def tail(path: Path, offset: int, most_bytes: int) -> bytes:
    """Whole lines of a file.

    Args:
        path: The file.
        offset: Where to begin.
        most_bytes: How much to read at most.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(most_bytes)
    except OSError:
        return b""
    return data[: data.rfind(b"\n") + 1]
