"""Units of systemd: they start an agent's supervisor, and start it again when the host does."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from slfac.testbed.hosts.remote.ended import ended
from slfac.testbed.hosts.remote.linger import lingers
from slfac.testbed.hosts.remote.problem import HostProblem
from slfac.testbed.hosts.remote.processes import MARK

_SYSTEM: Final = Path("/etc/systemd/system")
_UNIT: Final = """\
[Unit]
Description=slfac testbed, {name}
After=network.target
# The server may be away for long.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart="{python}" "{helper}" supervise "{folder}"
Environment="{mark}={folder}"
{user}Restart=on-failure
RestartSec=2
# What is to become of the agent is its supervisor's to say.
KillMode=mixed
TimeoutStopSec=30

[Install]
WantedBy={target}
"""


def choose_manager(*, work: str, systemd: bool, sudo: bool, user_units: bool) -> str:
    """What is to run agents here.

    Args:
        work: Folder of all testbeds.
        systemd: Whether systemd runs this host.
        sudo: Whether this user may do as root does.
        user_units: Whether this user has a systemd of its own.

    Returns:
        ``system``; ``user`` where units of this user go on without a log-in; else ``built-in``.
    """
    if systemd and sudo:
        return "system"
    if systemd and user_units and lingers(Path(work)):
        return "user"
    return "built-in"


def write_unit(manager: str, name: str, *, helper: Path, folder: Path, python: str) -> None:
    """Write a unit, start it, and have it started at each boot.

    Args:
        manager: ``system`` or ``user``.
        name: The unit's name, with ``.service``.
        helper: The archive of these files.
        folder: The agent's folder.
        python: The Python to run it.

    Raises:
        HostProblem: systemd refuses.
    """
    text = unit_text(manager, name, helper=helper, folder=folder, python=python)
    place = _place(manager, name)
    if manager == "system":
        _call(manager, "tee", str(place), given=text)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    _call(manager, "systemctl", "daemon-reload")
    _call(manager, "systemctl", "enable", "--quiet", name)
    # What starts it at a boot is to be there after one that nobody had seen coming.
    _call(manager, "sync", str(place))
    _call(manager, "systemctl", "restart", name)


def unit_text(manager: str, name: str, *, helper: Path, folder: Path, python: str) -> str:
    """A unit's file.

    Args:
        manager: ``system`` or ``user``.
        name: The unit's name, with ``.service``.
        helper: The archive of these files.
        folder: The agent's folder.
        python: The Python to run it.
    """
    is_system = manager == "system"
    return _UNIT.format(
        name=name.removesuffix(".service"),
        python=python,
        helper=helper,
        folder=folder,
        mark=MARK,
        user=f"User={os.getuid()}\n" if is_system else "",
        target="multi-user.target" if is_system else "default.target",
    )


def remove_unit(manager: str, name: str) -> None:
    """Stop a unit and take it away; nothing happens where it is not there.

    Args:
        manager: ``system`` or ``user``.
        name: The unit's name, with ``.service``.

    Raises:
        HostProblem: systemd refuses.
    """
    place = _place(manager, name)
    if not place.exists():
        return
    _call(manager, "systemctl", "disable", "--quiet", "--now", name)
    if manager == "system":
        _call(manager, "rm", "-f", str(place))
    else:
        place.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others have units there
            for folder in list(place.parents)[:3]:
                folder.rmdir()
    _call(manager, "systemctl", "daemon-reload")


def _place(manager: str, name: str) -> Path:
    if manager == "system":
        return _SYSTEM / name
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "systemd" / "user" / name


def _call(manager: str, *command: str, given: str = "") -> None:
    whole = list(command)
    if manager == "user" and command[0] == "systemctl":
        whole.insert(1, "--user")
    elif manager == "system" and os.getuid() != 0:
        whole = ["sudo", "-n", *command]
    done = ended(whole, given=given)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise HostProblem(
            f"`{' '.join(whole[:4])}` failed: {lines[-1]}",
            "look at `systemctl status` there; `slfac testbed down` takes away what was begun",
        )
