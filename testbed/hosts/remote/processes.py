"""Finds and ends processes of this host that belong to a testbed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

#: Names the folder that a process works for, in its environment.
MARK: Final = "SLFAC_TESTBED"
_POLL_S: Final = 0.05


def started_at(pid: int) -> int | None:
    """When a process began, in ticks since the boot; None where there is none, or only its remains.

    Args:
        pid: Its number.
    """
    try:
        # A program's name may hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def marked(folder: Path) -> list[int]:
    """Processes that work for a folder.

    Args:
        folder: The folder.
    """
    wanted = os.fsencode(f"{MARK}={folder}")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return sorted(pid for pid in found if started_at(pid) is not None)


def end(first: list[int], folder: Path, grace_s: float) -> int:
    """End what works for a folder: some are asked, what then is left is killed.

    Args:
        first: Who is asked, and takes others along.
        folder: The folder.
        grace_s: How long they have.

    Returns:
        How many had to be killed.
    """
    for pid in first:
        _signal(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + grace_s
    while (left := marked(folder)) and first and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    killed = len(left)
    deadline_s = time.monotonic() + grace_s
    while left and time.monotonic() < deadline_s:
        for pid in left:
            _signal(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
        left = marked(folder)
    return killed


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
