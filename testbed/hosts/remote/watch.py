"""Tells whoever listens what happens to an agent, as it happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from slfac.testbed.hosts.remote.agents import status
from slfac.testbed.hosts.remote.lease import Lease
from slfac.testbed.hosts.remote.programs import tail

_TICK_S: Final = 0.5
_MOST_BYTES: Final = 1 << 20


def watch(*, folder: str, files: dict[str, int]) -> dict[str, Any]:
    """Print an agent's state whenever it changes, and each new line of some files.

    Args:
        folder: The agent's folder.
        files: Files in it, with how much of each is known already.

    Returns:
        Nothing of interest, once nobody listens any more.
    """
    place, known, lease = Path(folder), dict(files), Lease()
    before: dict[str, Any] | None = None
    while True:
        # Before the files: what is in them when it has ended is then all there is.
        state = status(folder=folder)
        for name in known:
            _new_lines(place / name, name, known)
        if state != before:
            print(json.dumps({"state": state}), flush=True)
            before = state
        if not lease.wait(_TICK_S):
            return {}


def _new_lines(path: Path, name: str, known: dict[str, int]) -> None:
    # A supervisor that goes on with a run cuts off what will be said again.
    size = path.stat().st_size if path.exists() else 0
    known[name] = min(known[name], size)
    while data := tail(path, known[name], _MOST_BYTES):
        for line in data.splitlines(keepends=True):
            known[name] += len(line)
            text = line.decode("utf-8", "replace").rstrip("\n")
            print(json.dumps({"file": name, "line": text, "offset": known[name]}))
        print(end="", flush=True)


def last_lines(*, folder: str, name: str, count: int) -> dict[str, Any]:
    """The last lines of a file.

    Args:
        folder: The agent's folder.
        name: The file in it.
        count: How many.

    Returns:
        The lines, and how long the file is.
    """
    path = Path(folder) / name
    size = path.stat().st_size if path.exists() else 0
    data = tail(path, max(0, size - _MOST_BYTES), _MOST_BYTES)
    lines = data.decode("utf-8", "replace").splitlines()
    return {"lines": lines[-count:] if count else [], "offset": size}
