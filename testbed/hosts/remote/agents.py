"""Starts and stops the one agent of a host's folder, and says how it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from slfac.testbed.hosts.remote.linger import give_back
from slfac.testbed.hosts.remote.problem import HostProblem
from slfac.testbed.hosts.remote.processes import MARK, end, marked, started_at
from slfac.testbed.hosts.remote.state import (
    AGENT_FILE,
    ENDED,
    STATE_FILE,
    STOP_FILE,
    boot_id,
    read_state,
    replace_text,
    write_state,
)
from slfac.testbed.hosts.remote.units import remove_unit, write_unit
from slfac.testbed.hosts.remote.versions import tidy

_STARTS_S: Final = 20.0
_GRACE_S: Final = 20.0
_POLL_S: Final = 0.05


def start(
    *, folder: str, agent: dict[str, Any], manager: str, unit: str, files: dict[str, str]
) -> dict[str, Any]:
    """Start an agent in a fresh folder; one that runs there is stopped first.

    Args:
        folder: The agent's folder.
        agent: What to run: see :class:`~slfac.testbed.hosts.remote.supervise.Supervisor`.
        manager: ``system``, ``user`` or ``built-in``.
        unit: Name of the unit.
        files: More files for the folder, by their names.

    Returns:
        Its state.

    Raises:
        HostProblem: It could not be started.
    """
    place = Path(folder)
    stop(folder=folder, unit=unit)
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True, mode=0o700)
    for name, text in files.items():
        (place / name).write_text(text, "utf-8")
    replace_text(place / AGENT_FILE, json.dumps({**agent, "manager": manager}))
    return resume(folder=folder, unit=unit)


def resume(*, folder: str, unit: str) -> dict[str, Any]:
    """Start an agent's supervisor again, where it went away before the agent was done.

    Args:
        folder: The agent's folder.
        unit: Name of the unit.

    Returns:
        Its state.

    Raises:
        HostProblem: It could not be started.
    """
    place = Path(folder)
    if status(folder=folder)["state"] in {*ENDED, "running", "waiting"}:
        return status(folder=folder)
    (place / STOP_FILE).unlink(missing_ok=True)
    manager = json.loads((place / AGENT_FILE).read_bytes())["manager"]
    helper = Path(sys.argv[0]).resolve()
    if manager == "built-in":
        _start_built_in(place, helper)
    else:
        write_unit(manager, unit, helper=helper, folder=place, python=sys.executable)
    deadline_s = time.monotonic() + _STARTS_S
    while not (place / STATE_FILE).exists() or status(folder=folder)["state"] == "lost":
        if time.monotonic() > deadline_s:
            raise HostProblem(f"the agent's supervisor did not start within {_STARTS_S:g} s")
        time.sleep(_POLL_S)
    return status(folder=folder)


def _start_built_in(place: Path, helper: Path) -> None:
    with (place / "supervisor.log").open("ab") as log:
        subprocess.Popen(  # noqa: S603 - our own files, no shell
            [sys.executable, str(helper), "supervise", str(place)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**os.environ, MARK: str(place)},
            start_new_session=True,
        )


def status(*, folder: str) -> dict[str, Any]:
    """How an agent is.

    Args:
        folder: The agent's folder.

    Returns:
        Its state as its supervisor wrote it; ``none`` where nothing was started, and ``lost``
        where the supervisor is gone although the agent was not done.
    """
    place = Path(folder)
    state = read_state(place)
    if not state:
        return {"state": "lost" if (place / AGENT_FILE).exists() else "none"}
    if state["state"] in ENDED:
        return state
    alive = (
        state["boot"] == boot_id() and started_at(state["supervisor"]) == state["supervisor_began"]
    )
    return state if alive else {**state, "state": "lost"}


def stop(*, folder: str, unit: str) -> dict[str, Any]:
    """End an agent and all that works for it, and take its unit away.

    Args:
        folder: The agent's folder.
        unit: Name of the unit.

    Returns:
        What it was before, and how many processes had to be killed.

    Raises:
        HostProblem: Something is left.
    """
    place = Path(folder)
    before = status(folder=folder)
    if before["state"] not in {*ENDED, "none"}:
        with contextlib.suppress(OSError):  # the drive is full: it is cut off then
            (place / STOP_FILE).touch()
    for manager in ("system", "user"):
        remove_unit(manager, unit)
    is_alive = before["state"] in {"running", "waiting"}
    killed = end([before["supervisor"]] if is_alive else [], place, _GRACE_S)
    left = marked(place)
    if left:
        raise HostProblem(f"processes {left} do not end", "end them there, as their user or root")
    if read_state(place).get("state", "none") not in {*ENDED, "none"}:
        with contextlib.suppress(OSError):
            write_state(place, {**read_state(place), "state": "stopped"})
    return {"before": before["state"], "killed": killed}


def purge(*, folder: str, versions: str) -> dict[str, Any]:
    """Remove a host's folder, releases that nothing else uses, and folders that are empty then.

    Args:
        folder: Folder of this host in this testbed.
        versions: Where releases are.

    Returns:
        Whether there was one.

    Raises:
        HostProblem: It cannot be removed.
    """
    place = Path(folder)
    existed = place.exists()
    try:
        if existed:
            shutil.rmtree(place)
    except OSError as error:
        raise HostProblem(f"{error.filename} cannot be removed: {error.strerror}") from error
    tidy(folder=versions, keep=[])
    with contextlib.suppress(OSError):
        place.parent.rmdir()
    work = place.parent.parent
    give_back(work)
    with contextlib.suppress(OSError):  # others are at work there
        work.rmdir()
    return {"removed": existed}
