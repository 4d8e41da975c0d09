"""Releases of slfac on this host: finds those that are there, and unpacks others."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any, Final

from slfac.testbed.hosts.remote.problem import HostProblem

_LOCK_FILE: Final = ".lock"
_LEFT_BYTES: Final = 64_000_000
_TIMEOUT_S: Final = 120
# The same files give the same sum, wherever they are.
_LOOK: Final = """
import hashlib, importlib.util, json, pathlib, sys
spec = importlib.util.find_spec("slfac")
if spec is None or not spec.origin:
    print(json.dumps({"found": False}))
    sys.exit()
top, sums = pathlib.Path(spec.origin).parent, hashlib.sha256()
for part in ["__init__.py", *sys.argv[1].split(",")]:
    place = top / part
    for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
        sums.update(f"{file.relative_to(top).as_posix()} ".encode() + file.read_bytes())
missing = [name for name in sys.argv[2].split(",") if importlib.util.find_spec(name) is None]
print(json.dumps({"found": True, "sum": sums.hexdigest(), "missing": missing}))
"""


def look(*, parts: list[str], needs: list[str], python: str = sys.executable) -> dict[str, Any]:
    """Which slfac a Python has.

    Args:
        parts: Folders of slfac that count.
        needs: Modules that it needs.
        python: The Python; that which runs this.

    Returns:
        Whether there is one, a sum over its files, and which modules are missing.
    """
    command = [python, "-I", "-c", _LOOK, ",".join(parts), ",".join(needs)]
    try:
        done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {"found": False}
    return found


def unpack(*, folder: str, version: str, size_bytes: int, data: IO[bytes]) -> dict[str, Any]:
    """Unpack a release beside others; it is there whole or not at all.

    Args:
        folder: Where releases are.
        version: What to call it.
        size_bytes: What it takes.
        data: A compressed archive.

    Returns:
        Where it is.

    Raises:
        HostProblem: There is no room, or what came is damaged.
    """
    place = Path(folder) / version
    place.parent.mkdir(parents=True, exist_ok=True)
    # Hosts may share a home.
    with (place.parent / _LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            check_room(str(place.parent), size_bytes)
            _unpack_into(place, data)
    return {"at": str(place)}


def _unpack_into(place: Path, data: IO[bytes]) -> None:
    # What a break left half unpacked.
    for entry in place.parent.glob(".new-*"):
        shutil.rmtree(entry, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
    try:
        with tarfile.open(fileobj=data, mode="r|gz") as archive:
            options: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(fresh, **options)  # noqa: S202 - our own archive, over SSH
        fresh.chmod(0o755)
        os.sync()  # a loss of power must not leave the name with empty files
        fresh.rename(place)
    except (OSError, EOFError, tarfile.TarError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise HostProblem(f"slfac could not be unpacked into {place.parent}: {error}") from error


def check_room(folder: str, size_bytes: int) -> None:
    """Refuse to begin what will not fit.

    Args:
        folder: An existing folder.
        size_bytes: What is to go there.

    Raises:
        HostProblem: It does not fit.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes + _LEFT_BYTES:
        raise HostProblem(
            f"{folder} has {free_bytes / 1e6:.0f} MB free, and slfac takes "
            f"{(size_bytes + _LEFT_BYTES) / 1e6:.0f} MB",
            "free some space there, or set `work` to a folder on a larger drive",
        )


def tidy(*, folder: str, keep: list[str]) -> dict[str, Any]:
    """Remove releases that nothing uses any more.

    Args:
        folder: Where releases are; what testbeds run stands beside it.
        keep: Names of those to keep in any case.

    Returns:
        Names of those that were removed.
    """
    releases = Path(folder)
    used = [agent.read_text("utf-8") for agent in releases.parent.glob("*/*/run/agent.json")]
    removed = []
    for entry in sorted(releases.glob("[!.]*")):
        if entry.name not in keep and not any(entry.name in agent for agent in used):
            shutil.rmtree(entry, ignore_errors=True)
            removed.append(entry.name)
    if releases.is_dir() and not any(releases.glob("[!.]*")):
        shutil.rmtree(releases, ignore_errors=True)
    return {"removed": removed}
