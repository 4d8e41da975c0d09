"""Images to fine-tune on, as IDX folders of the size that a published model takes."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from slfac.data.idx_folder import read_idx_split, write_idx_split

_LETTERS = string.ascii_letters + string.digits
# Of the text: lines of a scan, some lighter, some larger.
_SIZES = (22, 40)
_INK = (0, 120)
_PAPER = (170, 256)


def resize_images(
    data: Path, out: Path, *, side: int, samples: dict[str, int], seed: int
) -> tuple[int, int]:
    """Scale grey images up and repeat them over three channels.

    Args:
        data: An IDX folder of ``(N, H, W)`` uint8.
        out: Where ``(N, 3, side, side)`` uint8 goes.
        side: Height and width of the result.
        samples: Split -> how many to take, at random.
        seed: Which ones.

    Returns:
        How many were written of ``train`` and of ``test``.

    Raises:
        DataError: The folder cannot be read or written.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    written = []
    for split, count in samples.items():
        images, labels = read_idx_split(data, split)
        chosen = rng.permutation(len(images))[:count]
        grey = [
            Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
            for image in images[chosen]
        ]
        scaled = np.stack([np.asarray(image) for image in grey])
        write_idx_split(out, split, np.repeat(scaled[:, None], 3, axis=1), labels[chosen])
        written.append(len(chosen))
    return written[0], written[1]


def render_text(
    out: Path, *, shape: tuple[int, int, int], samples: dict[str, int], seed: int
) -> None:
    """Draw random words, every second of them upside down: class 1.

    Args:
        out: Where ``(N, 3, H, W)`` uint8 goes.
        shape: ``(3, H, W)``.
        samples: Split -> how many to draw.
        seed: Of words, sizes and shades.

    Raises:
        DataError: The folder cannot be written.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    _, height, width = shape
    for split, count in samples.items():
        labels = rng.permutation(np.arange(count) % 2).astype(np.uint8)
        images = np.stack([_word(rng, height, width, bool(label)) for label in labels])
        write_idx_split(out, split, np.repeat(images[:, None], 3, axis=1), labels)


def _word(rng: np.random.Generator, height: int, width: int, turned: bool) -> np.ndarray:
    letters = rng.choice(list(_LETTERS), size=rng.integers(4, 11))
    page = Image.new("L", (width, height), int(rng.integers(*_PAPER)))
    font = ImageFont.load_default(size=float(rng.integers(*_SIZES)))
    # About the middle: where a word begins must not tell which way up it is.
    at = (width / 2 + rng.integers(-8, 9), height / 2 + rng.integers(-3, 4))
    ink = int(rng.integers(*_INK))
    ImageDraw.Draw(page).text(at, "".join(letters), fill=ink, font=font, anchor="mm")
    if turned:
        page = page.transpose(Image.Transpose.ROTATE_180)
    noise = rng.normal(0, 6, (height, width))
    return np.clip(np.asarray(page) + noise, 0, 255).astype(np.uint8)
