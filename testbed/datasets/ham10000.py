"""HAM10000, photographs of skin lesions of seven kinds, from the folder that the user has.

Tschandl et al.: The HAM10000 dataset, Scientific Data 5 (2018) 180161. It is published as folders
of JPEG images and a table: ``HAM10000_metadata.csv`` (or without the ending) with the columns
``lesion_id``, ``image_id`` and ``dx``. No package has it, so it is not fetched.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from slfac.data.shuffle import permutation
from slfac.testbed.datasets.samples import Samples
from slfac.testbed.mnist5k import default_cache
from slfac.testbed.write import replace_file
from slfac.wire.errors import DataError
from slfac.wire.manifest import Preprocessing

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
SIZE = 64
TRAINED_SHARE = 0.8
_TABLES = ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")
_COLUMNS = ("lesion_id", "image_id", "dx")
_MAX_TABLE_BYTES = 1 << 24
_MAX_PIXELS = 1 << 24
_EVERY = 500
# Keeps this order apart from others that are drawn.
_KEY = (10_015, 2018)
_REMEDY = (
    "pass --data ham10000=DIR, a folder with HAM10000_metadata.csv and, in it or in folders of it, "
    "the images ISIC_*.jpg"
)


def ham10000_samples(folder: Path, on_progress: Callable[[str], None] = lambda _: None) -> Samples:
    """All images, scaled to 64x64. Four of five lesions are trained on, the rest is scored on.

    A lesion that was photographed several times is on one side with all its images.

    Args:
        folder: Where the table is; images may be in folders below.
        on_progress: Told what is being done, in a few words.

    Returns:
        Samples ``(N, 3, 64, 64) uint8``.

    Raises:
        DataError: The table or an image is missing or damaged.
    """
    rows = _read_table(folder)
    paths = _find_images(folder, [image for _, image, _ in rows])
    images = _scaled(paths, on_progress)
    labels = np.array([CLASSES.index(kind) for _, _, kind in rows], np.int64)
    trained = _trained([lesion for lesion, _, _ in rows])
    return Samples(
        title="HAM10000, 64x64",
        x_train=images[trained],
        y_train=labels[trained],
        x_test=images[~trained],
        y_test=labels[~trained],
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,)),
    )


def _read_table(folder: Path) -> list[tuple[str, str, str]]:
    path = next((folder / name for name in _TABLES if (folder / name).is_file()), None)
    if path is None:
        raise DataError(f"{folder} has no {_TABLES[0]}", _REMEDY)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(_MAX_TABLE_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", _REMEDY) from error
    delimiter = "\t" if "\t" in text.split("\n", 1)[0] else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path} has no column {missing[0]}", _REMEDY)
    rows = []
    try:
        for row in reader:
            lesion, image, kind = (str(row[name]) for name in _COLUMNS)
            if kind not in CLASSES:
                raise DataError(
                    f"{path}, line {reader.line_num}: dx is {kind!r}",
                    f"one of {', '.join(CLASSES)} was expected",
                )
            rows.append((lesion, image, kind))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}", _REMEDY) from error
    if len({lesion for lesion, _, _ in rows}) < 2:
        raise DataError(f"{path} has {len(rows)} images, which is too few", _REMEDY)
    return rows


def _find_images(folder: Path, names: list[str]) -> list[Path]:
    known = {path.stem: path for path in sorted(folder.rglob("*.jpg"))}
    missing = [name for name in names if name not in known]
    if missing:
        raise DataError(
            f"{folder} has no image {missing[0]}.jpg, and {len(missing)} are missing", _REMEDY
        )
    return [known[name] for name in names]


def _scaled(paths: list[Path], on_progress: Callable[[str], None]) -> np.ndarray:
    """All images ``(N, 3, SIZE, SIZE) uint8``, kept beside other data for the next time."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    file = default_cache() / f"ham10000-{SIZE}-{digest.hexdigest()[:16]}.npz"
    shape = (len(paths), 3, SIZE, SIZE)
    try:
        with np.load(file, allow_pickle=False) as kept:
            images: np.ndarray = kept["images"]
            if images.shape == shape:
                return images
    except (OSError, ValueError, KeyError, EOFError):
        pass
    images = np.empty(shape, np.uint8)
    for index, image in enumerate(_opened(paths)):
        images[index] = image
        if index % _EVERY == 0:
            on_progress(f"scaling images of HAM10000: {index} of {len(paths)}")
    target = io.BytesIO()
    np.savez(target, images=images)
    replace_file(file, target.getvalue())
    return images


def _opened(paths: list[Path]) -> Iterator[np.ndarray]:
    for path in paths:
        try:
            with Image.open(path) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise DataError(f"{path} has {image.width}x{image.height} pixels")
                # JPEG is decoded at half or quarter size where that is enough.
                image.draft("RGB", (2 * SIZE, 2 * SIZE))
                scaled = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path} cannot be read: {error}", "fetch it again") from error
        yield np.asarray(scaled).transpose(2, 0, 1)


def _trained(lesions: list[str]) -> np.ndarray:
    """``(N,)`` of whether an image is trained on, by its lesion."""
    names = sorted(set(lesions))
    order = permutation(len(names), _KEY)
    chosen = {names[index] for index in order[: round(TRAINED_SHARE * len(names))]}
    return np.array([lesion in chosen for lesion in lesions])
