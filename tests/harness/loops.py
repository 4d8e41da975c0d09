"""Loop devices: real drives of this machine whose medium is a file. Root alone can make them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.cards import with_tools


def need_loops() -> None:
    """Skip a test where no loop device can be made, and say so."""
    with_tools()
    if os.geteuid():
        pytest.skip("loop devices need root")
    if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode:
        pytest.skip("this machine has no loop devices")


@contextmanager
def loop_device(medium: Path, *options: str) -> Iterator[Path]:
    """A loop device on a file, until the block ends.

    Args:
        medium: The file.
        options: More options of losetup, such as ``--read-only``.
    """
    command = ["losetup", "--find", "--show", *options, str(medium)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    device = made.stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A folder with little room in it, until the block ends.

    Args:
        folder: The folder.
        size: Its size in bytes.
    """
    if os.geteuid():
        pytest.skip("mounting needs root")
    folder.mkdir()
    where = ["-t", "tmpfs", "-o", f"size={size}", "slfac-test", str(folder)]
    if subprocess.run(["mount", *where], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
