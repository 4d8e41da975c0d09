"""Folders of images, one folder a class: ``root/train/<class>/*`` or ``root/<class>/*``."""

from __future__ import annotations

import importlib
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slfac.data.bounded import MAX_ARRAY_BYTES
from slfac.wire.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

_SPLITS = ("train", "test")
_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm"))
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_MAX_PIXELS = 1 << 26
# What Pillow's decoders raise on damaged files, besides OSError.
_FOREIGN = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)


def is_image_folder(root: Path) -> bool:
    """Whether a folder has sub-folders, as image folders do.

    Args:
        root: An existing folder.
    """
    return bool(_subfolders(root))


def read_image_split(
    root: Path, split: str, *, input_shape: tuple[int, ...], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read one split; labels number the class folders, sorted by name.

    Every class needs its folder, though it may be empty: a device that holds only some
    classes must number them as everyone else does.

    Args:
        root: The folder; without ``train`` and ``test`` it holds the classes itself.
        split: ``train`` or ``test``.
        input_shape: ``(C, H, W)`` of the model; images are converted to C channels (1
            grey, 3 RGB, 4 RGBA) and resized to H x W, bilinear with antialiasing.
        num_classes: How many class folders there must be.

    Returns:
        ``(N, C, H, W)`` uint8 and ``(N,)`` int64.

    Raises:
        DataError: The folder has other classes than expected or no images, or an image
            is corrupt; the message names it.
        MissingExtraError: Pillow is not installed.
    """
    if len(input_shape) != 3 or input_shape[0] not in _MODES:
        raise DataError(
            f"{root}: images cannot be shaped into a model input of {input_shape}",
            "image folders suit inputs (1|3|4, H, W); store other data as .npz",
        )
    classes = _classes(root, split, num_classes)
    files = [(file, label) for label, folder in enumerate(classes) for file in _images(folder)]
    if not files:
        raise DataError(
            f"{root} has no images of split {split}",
            f"put {', '.join(sorted(_SUFFIXES))} files into its class folders",
        )
    if len(files) * int(np.prod(input_shape)) > MAX_ARRAY_BYTES:
        raise DataError(
            f"{root}: {len(files)} images of {input_shape} need more than {MAX_ARRAY_BYTES} bytes",
            "split the data set over more devices",
        )
    pillow = _pillow()
    images = np.empty((len(files), *input_shape), np.uint8)
    for row, (file, _) in zip(images, files, strict=True):
        row[...] = _read_image(pillow, file, input_shape)
    return images, np.array([label for _, label in files], np.int64)


def _classes(root: Path, split: str, num_classes: int) -> list[Path]:
    splits = {name: _subfolders(root / name) for name in _SPLITS if (root / name).is_dir()}
    if splits and split not in splits:
        raise DataError(f"{root} has no folder {split}", f"make {root / split}/<class>/")
    classes = splits.get(split) or _subfolders(root)
    names = [folder.name for folder in classes]
    if len(classes) != num_classes:
        raise DataError(
            f"{root}: split {split} has {len(classes)} class folders "
            f"({', '.join(names[:8])}), the model has {num_classes} outputs",
            "make one folder a class, empty where there are no images of it",
        )
    for other, folders in splits.items():
        if [folder.name for folder in folders] != names:
            raise DataError(
                f"{root}: the class folders of {other} are not those of {split}",
                "give both the same names, so that labels mean the same",
            )
    return classes


def _subfolders(root: Path) -> list[Path]:
    try:
        found = [path for path in root.iterdir() if path.is_dir() and path.name[0] != "."]
    except OSError as error:
        raise DataError(f"cannot read {root}: {error.strerror or error}") from error
    return sorted(found, key=lambda path: path.name)


def _images(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error
    return sorted((path for path in found if path.name[0] != "."), key=lambda path: path.name)


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise MissingExtraError(
            "image folders need Pillow, which is not installed", "pip install 'slfac[images]'"
        ) from error


def _read_image(pillow: Any, path: Path, input_shape: tuple[int, ...]) -> np.ndarray:
    """One image as ``(C, H, W)`` uint8."""
    channels, height, width = input_shape
    try:
        with warnings.catch_warnings():
            # Oddities of a file's metadata are no news; its size is checked below.
            warnings.simplefilter("ignore")
            with pillow.open(path, formats=_FORMATS) as image:
                _check_image(image, path)
                converted = image.convert(_MODES[channels])
                if converted.size != (width, height):
                    converted = converted.resize((width, height), pillow.Resampling.BILINEAR)
    except (*_FOREIGN, pillow.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read: {error}", "replace or remove it") from error
    values = np.asarray(converted)
    return values[None] if channels == 1 else values.transpose(2, 0, 1)


def _check_image(image: Image, path: Path) -> None:
    if image.width * image.height > _MAX_PIXELS:
        raise DataError(
            f"{path} has {image.width}x{image.height} pixels, more than {_MAX_PIXELS}",
            "scale it down",
        )
    if image.mode.startswith(("I", "F")):
        raise DataError(
            f"{path} has more than 8 bits a channel (mode {image.mode})",
            "convert it to 8 bits, or store the data as .npz",
        )
