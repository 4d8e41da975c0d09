#!/usr/bin/python3
"""Puts a version of slfac into a board, tries it, and goes back where it does not work.

Versions lie beside one another in ``/opt/slfac/versions``; the link ``current`` names the one that
runs, ``previous`` the one before. A new one is put beside them, compared with its hashes, and made
to look at this machine and to run an inference; only then the link is switched, by one rename.
Power may go at any time: ``current`` always leads to a version that is whole and has been tried. If
the service ran and does not start with the new one, the link is switched back.

Run by the Debian package from what it has just unpacked, so that nothing of an older version is
needed: Python's standard library only, 3.10 or later.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

SCHEMA = 1
MANIFEST = "manifest.json"
MOST_BYTES = 4 << 20
#: The running one, and the one to go back to.
KEPT = ("current", "previous")
UNIT = "slfac-device.service"
USER = "slfac"
KEYS = "etc/slfac/keys"
CACHE = "var/lib/slfac/cache"
BYTECODE = "var/lib/slfac/pycache"
# Emulated, or on the smallest boards, onnxruntime loads for a minute; the unit has ten for a start.
PROGRAM_S = 900
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}", re.ASCII)
#: Lines of `slfac doctor` that a version must not fail: what it is made of, and the board's keys.
DECISIVE = {
    *("python", "platform", "glibc", "packages", "encryption", "inference"),
    *("msgspec", "numpy", "onnxruntime", "psutil", "pyzmq", "safetensors", "tomli"),
    *("keys", "device key"),
}
#: Those that it must have come to.
REACHED = {"encryption", "inference"}
Manifest = dict[str, Any]


class VersionError(Exception):
    """A version cannot be used; the one that ran before still does."""


def run_program(command: Sequence[str]) -> tuple[int, str]:
    """Run a program: its exit code, 127 if there is none, and what it printed."""
    try:
        done = subprocess.run(  # noqa: S603 - the commands of this file; no shell sees them
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return 127, ""
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VersionError(f"{command[0]}: {error}") from error
    return done.returncode, done.stdout if not done.returncode else done.stdout + done.stderr


@dataclasses.dataclass
class Board:
    """The system whose versions these are.

    Attributes:
        root: Its root folder.
        run: Runs a program; its exit code, and what it printed.
    """

    root: Path = Path("/")
    run: Callable[[Sequence[str]], tuple[int, str]] = run_program

    @property
    def home(self) -> Path:
        """Where the links are, and the folder of the versions."""
        return self.root / "opt" / "slfac"

    @property
    def versions(self) -> Path:
        """Where each version has a folder of its own."""
        return self.home / "versions"

    def linked(self, link: str) -> Path | None:
        """The version that a link names; None if there is none, or it is gone."""
        try:
            version = self.versions / (self.home / link).readlink().name
        except OSError:
            return None
        return version if version.is_dir() else None

    def point(self, link: str, version: Path) -> None:
        """Let a link name a version, from one instant to the next."""
        fresh = self.home / f".{link}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"versions/{version.name}")
        fresh.replace(self.home / link)
        settle(self.home)

    def say(self, line: str) -> None:
        """Tell people what is going on."""
        sys.stdout.write(f"slfac: {line}\n")
        sys.stdout.flush()


def settle(path: Path) -> None:
    """Wait until what a folder lists is on the medium."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def alone(board: Board) -> Iterator[None]:
    """Hold off others who would change versions meanwhile."""
    board.versions.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle = os.open(board.versions, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise VersionError("another update is under way; wait for its end") from None
    else:
        yield
    finally:
        os.close(handle)


# What a version says of itself, and whether that is so.


def parse_manifest(data: bytes) -> Manifest:
    """What a version says of itself.

    Raises:
        VersionError: It is damaged, or of a form that this release does not know.
    """
    if len(data) > MOST_BYTES:
        raise VersionError(f"{MANIFEST} has more than {MOST_BYTES} bytes")
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise VersionError(f"{MANIFEST} is damaged: {type(error).__name__}") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise VersionError(f"{MANIFEST} is not of schema {SCHEMA}")
    for field in ("version", "slfac", "python", "machine"):
        value = manifest.get(field)
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise VersionError(f"{MANIFEST}: {field} cannot be right")
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise VersionError(f"{MANIFEST}: files cannot be right")
    for path, sha256 in files.items():
        if not is_inside(path) or not isinstance(sha256, str) or len(sha256) != 64:
            raise VersionError(f"{MANIFEST}: {path[:80]!r} cannot be right")
    return manifest


def is_inside(path: str) -> bool:
    """Whether a path names a file of a folder, and none outside of it."""
    parts = PurePosixPath(path).parts
    plain = str(PurePosixPath(path)) == path and "\0" not in path and not path.startswith("/")
    return plain and bool(parts) and ".." not in parts and path not in (".", MANIFEST)


def read_manifest(folder: Path) -> Manifest:
    """What the version in a folder says of itself.

    Raises:
        VersionError: It says nothing, or nothing that can be right.
    """
    try:
        with (folder / MANIFEST).open("rb") as stream:
            return parse_manifest(stream.read(MOST_BYTES + 1))
    except OSError as error:
        raise VersionError(f"{folder} holds no version: {error.strerror}") from error


def require_fit(manifest: Manifest, *, python: str = "", machine: str = "") -> None:
    """Refuse a version that was made for other boards.

    Args:
        manifest: What it says of itself.
        python: This board's Python, such as ``3.13``; that which runs if not given.
        machine: This board's processor, such as ``aarch64``; likewise.

    Raises:
        VersionError: It does not fit.
    """
    python = python or ".".join(map(str, sys.version_info[:2]))
    machine = machine or platform.machine()
    if manifest["machine"] != machine:
        raise VersionError(f"it is for {manifest['machine']}, and this board is {machine}")
    if manifest["python"] != python:
        raise VersionError(
            f"it is for Python {manifest['python']}, and this system has {python}: take the "
            f"package whose version has cp{python.replace('.', '')} in it"
        )


def sha256_of(path: Path) -> str:
    """A file's hash; links are not followed."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def require_whole(folder: Path, manifest: Manifest) -> None:
    """Compare every file of a version with its hash.

    Raises:
        VersionError: One is missing, or is another.
    """
    for path, sha256 in manifest["files"].items():
        try:
            found = sha256_of(folder / path)
        except OSError as error:
            raise VersionError(f"{folder / path}: {error.strerror}") from error
        if found != sha256:
            raise VersionError(f"{folder / path} is damaged: its sha256 is {found}")


# Putting a version in.


def stage(board: Board, source: Path) -> Path:
    """Put a version beside the others, whole or not at all; nothing runs it yet.

    Args:
        board: Where.
        source: Folder with the version; its files are linked, not copied, where they can be.

    Returns:
        Its folder; that of the same version if it is there, and whole.

    Raises:
        VersionError: It is damaged, or there is no room.
    """
    manifest = read_manifest(source)
    for version in candidates(board, manifest["version"]):
        if not version.exists():
            break
        if is_same(version, source):
            return version
    fresh = board.versions / f".{version.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        for path in (*manifest["files"], MANIFEST):
            take(source / path, fresh / path)
        require_whole(fresh, manifest)
    except OSError as error:
        raise VersionError(f"{error.filename}: {error.strerror}") from error
    # One call for the files and folders of some thousand.
    os.sync()
    fresh.replace(version)
    settle(board.versions)
    return version


def candidates(board: Board, name: str) -> Iterator[Path]:
    """Folders that a version may have: those of a name that others have are numbered."""
    yield board.versions / name
    yield from (board.versions / f"{name}.{number}" for number in range(1, 100))


def is_same(version: Path, source: Path) -> bool:
    """Whether a version is there already, and whole."""
    try:
        if (version / MANIFEST).read_bytes() != (source / MANIFEST).read_bytes():
            return False
        require_whole(version, read_manifest(version))
    except (OSError, VersionError):
        return False
    return True


def take(source: Path, target: Path) -> None:
    """Have a file twice, but its bytes once where the file system can."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy(source, target, follow_symlinks=False)


def check(board: Board, version: Path) -> None:
    """Have a version look at this board, as the user that it will run as.

    Raises:
        VersionError: It cannot be started, cannot compute, or cannot use the board's keys.
    """
    manifest = read_manifest(version)
    board.say(f"trying {manifest['version']}")
    command = [*as_user(board), f"{version}/bin/slfac", "doctor", "--json"]
    command += ["--cache", str(board.root / CACHE)]
    if (board.root / KEYS / "device.key_secret").exists():
        command += ["--keys", str(board.root / KEYS)]
    code, printed = board.run(command)
    try:
        said = json.loads(printed)
        release, findings = said["slfac"], said["findings"]
        levels = {one["name"]: one["level"] for one in findings}
        failed = [
            f"{one['name']}: {one['found']}"
            for one in findings
            if one["name"] in DECISIVE and one["level"] == "failed"
        ]
    except (ValueError, KeyError, TypeError):
        last = " ".join(printed.split())[-300:]
        raise VersionError(f"`slfac doctor` of it ended with {code}: {last}") from None
    failed += [f"{name}: not tried" for name in sorted(REACHED) if levels.get(name) != "ok"]
    if release != manifest["slfac"]:
        failed.append(f"it is release {release}, not {manifest['slfac']}")
    if failed:
        raise VersionError("`slfac doctor` of it says " + ", ".join(failed))


def as_user(board: Board) -> list[str]:
    """What a command begins with to run as the agent's user; nothing where that cannot be."""
    own = ["env", f"PYTHONPYCACHEPREFIX={board.root / BYTECODE}", f"HOME={board.root / CACHE}"]
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return own
    if os.geteuid() or board.root != Path("/"):
        return own
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *own]


# Switching.


def switch(board: Board, version: Path) -> None:
    """Let a version run; back to the one that ran if its service then does not start.

    Raises:
        VersionError: It does not start; the one before runs again.
    """
    before, older = board.linked("current"), board.linked("previous")
    was_up = is_up(board)
    if before is not None and before != version:
        board.point("previous", before)
    board.point("current", version)
    if start_again(board) or not was_up:
        return
    if before is None or before == version:
        raise VersionError(f"{UNIT} does not start; see journalctl -u {UNIT}")
    board.say(f"{UNIT} does not start: going back to {before.name}")
    board.point("current", before)
    if older is not None:
        board.point("previous", older)
    start_again(board)
    raise VersionError(
        f"{UNIT} did not start with {version.name}; {before.name} runs again; "
        f"journalctl -u {UNIT} says why"
    )


def has_systemd(board: Board) -> bool:
    """Whether systemd runs this system, which it does not in a chroot."""
    return (board.root / "run/systemd/system").is_dir()


def is_up(board: Board) -> bool:
    """Whether the service has started."""
    return has_systemd(board) and not board.run(("systemctl", "is-active", UNIT))[0]


def start_again(board: Board) -> bool:
    """Start the service anew, unless the administrator forbids it; whether it then is up."""
    if not has_systemd(board):
        return False
    # Debian's own asks policy-rc.d, and leaves a service alone that was disabled.
    code, _ = board.run(("deb-systemd-invoke", "restart", UNIT))
    if code == 127:
        code, _ = board.run(("systemctl", "restart", UNIT))
    return not code and is_up(board)


def prune(board: Board) -> None:
    """Remove all versions but the one that runs and the one before."""
    names = {version.name for link in KEPT if (version := board.linked(link)) is not None}
    # Installers write down beside a version which archive it came from.
    kept = names | {f".{name}.sha256" for name in names}
    for path in sorted(board.versions.iterdir()):
        if path.name in kept:
            continue
        if not path.is_dir():
            path.unlink(missing_ok=True)
            continue
        shutil.rmtree(path, ignore_errors=True)
        own = (board.root / BYTECODE).joinpath(*path.relative_to(board.root).parts)
        shutil.rmtree(own, ignore_errors=True)


def install(board: Board, source: Path) -> Path:
    """Put a version in, try it, and let it run.

    Args:
        board: Where.
        source: Folder with the version.

    Returns:
        The version's folder.

    Raises:
        VersionError: It cannot be used; what ran before runs still.
    """
    manifest = read_manifest(source)
    require_fit(manifest)
    with alone(board):
        try:
            version = stage(board, source)
            check(board, version)
            switch(board, version)
        finally:
            # With what failed, and what an update that was cut short has left.
            prune(board)
    board.say(f"{version.name} is the current version")
    return version


def roll_back(board: Board) -> Path:
    """Let the version before run again.

    Returns:
        Its folder.

    Raises:
        VersionError: There is none, or it cannot be used; what ran before runs still.
    """
    with alone(board):
        version = board.linked("previous")
        if version is None or version == board.linked("current"):
            raise VersionError("there is no version before the current one")
        require_whole(version, read_manifest(version))
        check(board, version)
        switch(board, version)
    board.say(f"{version.name} is the current version")
    return version


def main(arguments: Sequence[str] | None = None) -> int:
    """Install what a package has unpacked.

    Returns:
        The exit code: 1 if the version cannot be used.
    """
    parser = argparse.ArgumentParser(description="Put a version of slfac into this board.")
    parser.add_argument("source", type=Path, help="folder with the version")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the system to put it into")
    args = parser.parse_args(arguments)
    os.umask(0o022)
    try:
        install(Board(args.root), args.source)
    except VersionError as error:
        sys.stderr.write(f"slfac: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
