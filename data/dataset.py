"""A data set in memory, checked against the model that it is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from slfac.data.idx_folder import is_idx_folder, read_idx_split
from slfac.data.images import is_image_folder, read_image_split
from slfac.data.npz import is_npz, read_npz_split
from slfac.wire.errors import DataError

Split = Literal["train", "test"]
_KINDS = (
    "give a folder of IDX files (train-images-idx3-ubyte, ...), a .npz file with x_train, "
    "y_train, x_test, y_test, or a folder of images, one folder a class"
)


@dataclass(frozen=True)
class Dataset:
    """Samples with their labels, as stored; batches are scaled when they are taken.

    Attributes:
        images: ``(N, *input_shape)``, uint8 or finite float32; may be a strided view.
        labels: ``(N,)`` int64 in [0, num_classes).
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def open_dataset(
    path: Path, *, split: Split, input_shape: tuple[int, ...], num_classes: int
) -> Dataset:
    """Open a data set of any known kind and check that a model can take it.

    Samples without a channel axis get one where the model has a single channel;
    ``(N, H, W, C)`` is taken for a model of ``(C, H, W)``.

    Args:
        path: A folder of IDX files, a NumPy archive, or a folder of images.
        split: Which part of it.
        input_shape: The model's input, without the batch axis.
        num_classes: How many classes the model tells apart.

    Returns:
        The samples and labels.

    Raises:
        DataError: The path is no data set, a file is corrupt, the shapes do not match, a
            label is out of range, or a value is not finite.
        MissingExtraError: It is a folder of images and Pillow is not installed.
    """
    images, labels = _read(path, split, input_shape, num_classes)
    labels = _check_labels(path, labels, num_classes)
    if len(images) != len(labels):
        raise DataError(
            f"{path}: split {split} has {len(images)} samples but {len(labels)} labels",
            "images and labels must be of the same set",
        )
    return Dataset(_check_values(path, _fit(path, images, input_shape)), labels)


def _read(
    path: Path, split: Split, input_shape: tuple[int, ...], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", _KINDS) from error
    if is_folder and is_idx_folder(path):
        return read_idx_split(path, split)
    if is_folder and is_image_folder(path):
        return read_image_split(path, split, input_shape=input_shape, num_classes=num_classes)
    if is_file and is_npz(path):
        return read_npz_split(path, split)
    state = "is no data set" if is_folder or is_file else "does not exist"
    raise DataError(f"{path} {state}", _KINDS)


def _fit(path: Path, images: np.ndarray, input_shape: tuple[int, ...]) -> np.ndarray:
    """Samples in the model's shape, as a view."""
    shape = images.shape[1:]
    if shape == input_shape:
        return images
    if len(input_shape) == 3:
        if input_shape[0] == 1 and shape == input_shape[1:]:
            return images[:, None]
        if shape == (*input_shape[1:], input_shape[0]):
            return np.moveaxis(images, -1, 1)
    raise DataError(
        f"{path}: samples have shape {shape}, the model takes {input_shape}",
        "use data of that shape, or export the model for this one",
    )


def _check_labels(path: Path, labels: np.ndarray, num_classes: int) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "ui":
        raise DataError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape}",
            "store one class number a sample, as integers of shape (N,)",
        )
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if bad.size:
        raise DataError(
            f"{path}: label {labels[bad[0]]} of sample {bad[0]} is not in 0..{num_classes - 1}",
            "number the classes from 0, or export a model with more outputs",
        )
    return labels.astype(np.int64)


def _check_values(path: Path, images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    with np.errstate(over="ignore"):
        values = images.astype(np.float32, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        index = int(np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))[0])
        raise DataError(
            f"{path}: sample {index} holds NaN, infinity or a value beyond float32",
            "repair or remove it",
        )
    return values
