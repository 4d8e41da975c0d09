"""torchvision and timm as they are published, to compare our models with.

Neither is installed: their wheels are pinned, unpacked into pytest's cache and imported by
a process of their own. torchvision's is a CUDA build, whose compiled part is left out; the
operators that its Python part looks for at import are declared first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from slfac.testbed.wheels import PinnedWheel

HARNESS = Path(__file__).parent
SOURCE = HARNESS.parents[1] / "src"
_REMEDY = "connect this machine: the test fetches 10 MB, once"
WHEELS = {
    # Python 3.10 to 3.13, x86_64 and aarch64.
    "torchvision": PinnedWheel(
        requirement="torchvision==0.28.0",
        sha256=(
            "6dfb0f45e2b4ceb4e76f158c3fbb5f44387099f3c466e3423a09ab665a194aba",
            "546fd85345cf8652f6cd099d4f9884b0ca5c2f3fae78689a21dd2f35ea6b622f",
            "7e80f543b22503d9415e126db5f0ff3917036925e38560ee6b9ae38c571a4002",
            "5a38bc6da3d72621be003400b66f66a2b4c6d644fde05f680c2cb7ca8cf8dd6c",
            "028a3d481b37d785605620d7cdad897064c5a55bae2aa1f2658766333e291940",
            "5cf78ebc401ce64ae19b8c55de866bb836797d559a4de9c25ccbe74cfa642d3a",
            "ad7b3a439265cc3739a4ab5b4c998c0e38ea99c0ee7ca4dea35c5d0b099ec237",
            "bb6dd6918460ed89cc7644adcc2402991474d6933cf1ce92b390641cb233fddf",
        ),
        what="torchvision",
        remedy=_REMEDY,
    ),
    "timm": PinnedWheel(
        requirement="timm==1.0.31",
        sha256=("5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",),
        what="timm",
        remedy=_REMEDY,
    ),
}


def fetch_oracles(cache: Path) -> Path:
    """A folder that holds both packages; filled by the first call."""
    folder = cache / "torchvision-0.28.0-timm-1.0.31"
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(dir=cache) as name:
        fresh = Path(name) / "fresh"
        for package, wheel in WHEELS.items():
            (Path(name) / package).mkdir()
            with zipfile.ZipFile(wheel.download(Path(name) / package)) as archive:
                python = [file for file in archive.namelist() if not file.endswith(".so")]
                archive.extractall(fresh, python)
        fresh.rename(folder)
    return folder


def compare(oracles: Path, weights: Path) -> dict[str, dict[str, float]]:
    """Run every comparison of ``harness/parity.py``: largest errors by case and group."""
    command = [sys.executable, str(HARNESS / "parity.py"), str(weights)]
    paths = os.pathsep.join(map(str, (SOURCE, oracles)))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    errors: dict[str, dict[str, float]] = json.loads(done.stdout)
    return errors
