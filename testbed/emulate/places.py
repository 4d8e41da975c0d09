"""Where a LAN that is up can be found: a folder for each name, with a lock, a socket and a log."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from pathlib import Path
from typing import Final

from slfac.wire.errors import RunError, SettingsError

_LOCK_BYTES: Final = 256
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)


def lan_folder(name: str) -> Path:
    """Folder of a LAN's lock, socket and log.

    Args:
        name: Its name.

    Raises:
        SettingsError: It is no name.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is no name of a testbed", "use a-z, 0-9, '.', '_' and '-'")
    return _root() / name


def make_folder(name: str) -> Path:
    """The same, made; only this user may look into it.

    Args:
        name: Its name.

    Raises:
        SettingsError: It is no name.
        RunError: It cannot be made, or belongs to someone else.
    """
    folder = lan_folder(name)
    try:
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, exist_ok=True)
            found = path.lstat()
            if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
                raise RunError(f"{path} belongs to someone else", "set XDG_RUNTIME_DIR")
    except OSError as error:
        raise RunError(f"cannot make {folder}: {error.strerror}", "set XDG_RUNTIME_DIR") from error
    return folder


def lans() -> dict[str, str]:
    """The LANs that are up, sorted by name.

    Returns:
        By name, the command that made it for itself alone; empty for an inventory's.
    """
    if not _root().is_dir():
        return {}
    said = {name: _said(name) for name in sorted(path.name for path in _root().iterdir())}
    return {name: "".join(lines[1:2]) for name, lines in said.items() if lines}


def lock(folder: Path, made_by: str = "") -> int | None:
    """Take a LAN's lock, which this process has until it ends.

    Args:
        folder: The LAN's folder.
        made_by: The command that makes the LAN for itself alone; empty for an inventory's.

    Returns:
        The lock's descriptor; None if another process has it.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n{made_by}\n".encode())
    return descriptor


def owner_of(name: str) -> int | None:
    """Process of a LAN; None if none of that name is up.

    Args:
        name: Its name.
    """
    said = _said(name)
    if said is None:
        return None
    return int(said[0]) if said and said[0].isdigit() else 0


def _said(name: str) -> list[str] | None:
    """What the process that holds a LAN's lock has written there; None if none does."""
    try:
        descriptor = os.open(lan_folder(name) / "lock", os.O_RDWR | os.O_CLOEXEC)
    except (OSError, SettingsError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(descriptor, _LOCK_BYTES).decode("ascii", "replace").splitlines()
    finally:
        os.close(descriptor)
    return None


def _root() -> Path:
    if os.geteuid() == 0:
        return Path("/run/slfac-testbed")
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/"):
        return Path(given) / "slfac-testbed"
    return Path(f"/tmp/slfac-testbed-{os.geteuid()}")  # noqa: S108 - its owner is checked
