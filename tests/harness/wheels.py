"""Pinned wheels whose files tests read, fetched once by pip and never installed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from slfac.testbed.mnist5k import default_cache

RAPIDOCR = (
    "rapidocr-onnxruntime==1.4.4",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
)


def wheel_file(pin: tuple[str, str], member: str) -> Path:
    """A file of a wheel.

    Args:
        pin: Requirement and sha256 of the wheel, which pip checks.
        member: Path of the file in the wheel.

    Returns:
        The file, in a cache that later runs find without a network.
    """
    requirement, sha256 = pin
    cache = default_cache() / "wheels" / sha256[:16]
    kept = cache / Path(member).name
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            folder = Path(name)
            pins = folder / "requirements.txt"
            pins.write_text(f"{requirement} --hash=sha256:{sha256}\n", "utf-8")
            command = [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"),
                *("--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"),
                *("-r", str(pins), "--dest", str(folder)),
            ]
            subprocess.run(command, check=True, timeout=300)
            (wheel,) = folder.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (folder / kept.name).write_bytes(archive.read(member))
            (folder / kept.name).replace(kept)
    return kept
