"""What an agent's supervisor writes down: its state, and what happened."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any, Final

AGENT_FILE: Final = "agent.json"
STATE_FILE: Final = "state.json"
EVENTS_FILE: Final = "events.jsonl"
LOG_FILE: Final = "agent.log"
LOCK_FILE: Final = "lock"
#: Is there where somebody has asked for the agent to stop.
STOP_FILE: Final = "stop"
#: States in which an agent is not started again.
ENDED: Final = ("done", "failed", "stopped")


def boot_id() -> str:
    """Which boot of the kernel this is."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def read_state(folder: Path) -> dict[str, Any]:
    """The state that was written last; empty where none was.

    Args:
        folder: The agent's folder.
    """
    try:
        state: dict[str, Any] = json.loads((folder / STATE_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return state


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the state; a reader sees the old one or the new one.

    Args:
        folder: The agent's folder.
        state: The state.
    """
    replace_text(folder / STATE_FILE, json.dumps(state))


def replace_text(path: Path, text: str) -> None:
    """Write a small file that a loss of power leaves as it was or as it is to be.

    Args:
        path: Where.
        text: What.
    """
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def add_event(folder: Path, event: str, **values: Any) -> None:
    """Write down that something happened.

    Args:
        folder: The agent's folder.
        event: What.
        **values: More about it.
    """
    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds")
    with (
        contextlib.suppress(OSError),  # a drive that is full ends no agent
        (folder / EVENTS_FILE).open("a", encoding="utf-8") as file,
    ):
        file.write(json.dumps({"event": event, "time": now, **values}) + "\n")


def last_line(folder: Path) -> str:
    """The last line that an agent printed; empty where it said nothing.

    Args:
        folder: The agent's folder.
    """
    try:
        with (folder / LOG_FILE).open("rb") as file:
            file.seek(max(file.seek(0, 2) - 8192, 0))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
