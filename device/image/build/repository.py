"""An archive of exactly the packages of a lock, for mmdebstrap to install from."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from slfac.device.image.build.lock import Lock, Package
from slfac.device.image.programs import run_program
from slfac.wire.errors import ImageError


def make_repository(lock: Lock, debs: Sequence[tuple[Package, Path]], folder: Path) -> list[str]:
    """Make an archive of packages.

    Args:
        lock: Their lock.
        debs: The packages with their files.
        folder: Where; made.

    Returns:
        Lines of a list of archives with nothing but this one.

    Raises:
        ImageError: A file is no package, or another one than the lock says.
    """
    folder.mkdir(mode=0o755)
    stanzas = []
    for package, path in debs:
        name = f"{package.sha256}.deb"
        # The namespace's root may not be allowed to look into the folder where they are kept.
        shutil.copyfile(path, folder / name)
        (folder / name).chmod(0o644)
        stanzas.append(f"{_control(package, folder / name)}Filename: ./{name}\n")
    index = "\n".join(
        f"{stanza}Size: {package.size_bytes}\nSHA256: {package.sha256}\n"
        for stanza, (package, _) in zip(stanzas, debs, strict=True)
    ).encode()
    (folder / "Packages").write_bytes(index)
    (folder / "Release").write_text(_release(lock, index), encoding="utf-8")
    # What is in it was compared with the lock, byte by byte.
    return [f"deb [trusted=yes] copy://{folder} ./"]


def _control(package: Package, path: Path) -> str:
    done = run_program(["dpkg-deb", "--field", str(path)])
    if done.code:
        raise ImageError(f"{package.title} is no package: {done.said}", "make a new lock")
    text = done.output.decode("utf-8", "replace").rstrip("\n") + "\n"
    fields = dict(line.partition(": ")[::2] for line in text.splitlines() if line[:1] != " ")
    told = fields.get("Package"), fields.get("Version"), fields.get("Architecture")
    if told != (package.name, package.version, package.architecture):
        raise ImageError(f"{package.title} calls itself {told}", "make a new lock")
    return text


def _release(lock: Lock, index: bytes) -> str:
    made = datetime.fromtimestamp(lock.time_s, tz=timezone.utc)
    return (
        f"Suite: {lock.suite}\nCodename: {lock.suite}\nArchitectures: arm64 all\n"
        f"Date: {made:%a, %d %b %Y %H:%M:%S} UTC\n"
        f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    )
