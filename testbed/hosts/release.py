"""slfac with all it needs, as one archive for hosts of a kind; such hosts need no package index."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import slfac
from slfac.device.image.layer.wheels import ABIS, MACHINES, install_wheels, lock_file, own_wheel
from slfac.wire.errors import HostError, ImageError

_LAUNCHER: Final = """\
#!/usr/bin/env python3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from slfac.cli import main

sys.exit(main())
"""
_PARTS: Final = ("bin", "lib")
_LEAST_LIBC: Final = (2, 28)
#: Folders of slfac that run on devices, and those that a server needs as well.
DEVICE_PARTS: Final = ("wire", "codec", "data", "hw_profiles", "device", "cli")
SERVER_PARTS: Final = (*DEVICE_PARTS, "server", "export")
DEVICE_NEEDS: Final = ("msgspec", "numpy", "onnxruntime", "psutil", "safetensors", "zmq")
SERVER_NEEDS: Final = (*DEVICE_NEEDS, "prometheus_client", "pydantic", "torch")


@dataclass(frozen=True)
class Release:
    """An archive with slfac for a kind of host.

    Attributes:
        version: What it is called; it has a hash of all that is in it.
        file: The archive.
        size_bytes: What it takes when it is unpacked.
    """

    version: str
    file: Path
    size_bytes: int


def kind_of(name: str, facts: dict[str, Any]) -> tuple[str, str]:
    """Which wheels a host needs.

    Args:
        name: The host's name.
        facts: What it is.

    Returns:
        Its Python such as ``cp311``, and its processor such as ``aarch64``.

    Raises:
        HostError: There are no wheels for it.
    """
    version = ".".join(facts["python"].split(".")[:2])
    abi = next((abi for abi, (python, _) in ABIS.items() if python == version), None)
    if abi is None or facts["implementation"] != "CPython":
        raise HostError(
            f"{name}: {facts['python_path']} is {facts['implementation']} {facts['python']}, and "
            "slfac needs CPython 3.10 to 3.13",
            "install one, and set `python` to where it is",
        )
    machine = {"arm64": "aarch64"}.get(facts["machine"], facts["machine"])
    if facts["system"] != "Linux" or machine not in MACHINES or facts["bits"] != 64:
        raise HostError(
            f"{name}: it has {facts['system']} for {facts['machine']}, {facts['bits']} bits",
            f"install a 64-bit Linux: wheels exist for {' and '.join(MACHINES)}",
        )
    kind, _, release = facts["libc"].partition(" ")
    if kind != "glibc" or _numbers(release) < _LEAST_LIBC:
        raise HostError(
            f"{name}: its C library is {facts['libc'] or 'unknown'}, and wheels need glibc 2.28",
            "install a newer system, such as Debian 12 or Ubuntu 22.04",
        )
    return abi, machine


class Releases:
    """Makes archives when they are first asked for, and keeps them.

    Args:
        cache: Folder for them; None for the user's own.
    """

    def __init__(self, cache: Path | None = None) -> None:
        default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._cache = cache or default / "slfac" / "testbed"
        self._made: dict[tuple[str, str], Release] = {}

    def release(self, abi: str, machine: str) -> Release:
        """The archive for a kind of host.

        Args:
            abi: Its Python, such as ``cp311``.
            machine: Its processor, such as ``aarch64``.

        Returns:
            The archive.

        Raises:
            ImageError: Wheels cannot be had, or the archive cannot be written.
        """
        kind = abi, machine
        if kind not in self._made:
            try:
                self._made[kind] = self._release(abi, machine)
            except OSError as error:
                raise ImageError(
                    f"cannot write below {self._cache}: {error.strerror}", "free some space"
                ) from error
        return self._made[kind]

    def _release(self, abi: str, machine: str) -> Release:
        parts = (_sources_sum(), lock_file(abi).read_bytes(), _LAUNCHER.encode())
        total = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
        version = f"{slfac.__version__}-{abi}-{machine}-{total.hexdigest()[:12]}"
        for older in self._cache.glob(f"{slfac.__version__}-{abi}-{machine}-*"):
            if not older.name.startswith(version):
                older.unlink()
        found = next(self._cache.glob(f"{version}-*.tar.gz"), None)
        if found is None:
            found = self._make(version, abi, machine)
        size_bytes = int(found.name.removeprefix(f"{version}-").partition(".")[0])
        return Release(version, found, size_bytes)

    def _make(self, version: str, abi: str, machine: str) -> Path:
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self._cache) as name:
            folder = Path(name)
            own = _own_wheel(folder / "own")
            install_wheels(abi, folder / "lib", own, machine)
            (folder / "bin").mkdir()
            (folder / "bin" / "slfac").write_text(_LAUNCHER, "utf-8")
            (folder / "bin" / "slfac").chmod(0o755)
            files = [file for part in _PARTS for file in (folder / part).rglob("*")]
            size_bytes = sum(file.stat().st_size for file in files if file.is_file())
            fresh = folder / "fresh.tar.gz"
            with tarfile.open(fresh, "w:gz", compresslevel=6) as archive:
                for part in _PARTS:
                    archive.add(folder / part, part)
            return fresh.rename(self._cache / f"{version}-{size_bytes}.tar.gz")


def _own_wheel(folder: Path) -> Path:
    wheel = Path(own_wheel(folder))
    if not wheel.is_file():
        raise ImageError(
            "slfac was not installed from its sources, which are what goes to hosts",
            "install it from a clone: pip install -e '.[testbed]'",
        )
    return wheel


def own_sum(parts: tuple[str, ...]) -> str:
    """A sum over this slfac's files, as :func:`slfac.testbed.hosts.remote.versions.look` makes it.

    Args:
        parts: Folders of it that count.
    """
    top, sums = Path(slfac.__file__).parent, hashlib.sha256()
    for part in ("__init__.py", *parts):
        place = top / part
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            sums.update(f"{file.relative_to(top).as_posix()} ".encode() + file.read_bytes())
    return sums.hexdigest()


def _sources_sum() -> bytes:
    """A sum over all that a wheel of this slfac would hold."""
    top, sums = Path(slfac.__file__).parent, hashlib.sha256()
    for part in sorted(top.iterdir()):
        files = sorted(part.rglob("*")) if part.is_dir() else [part]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                sums.update(f"{file.relative_to(top).as_posix()} ".encode() + file.read_bytes())
    return sums.digest()


def _numbers(release: str) -> tuple[int, ...]:
    parts = release.split(".")[:2]
    return tuple(int(part) for part in parts) if all(p.isdigit() for p in parts) else ()
