"""The published models that are fine-tuned, and how each is exported."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slfac.testbed.efficientnet_lite0 import fetch_weights
from slfac.testbed.finetune.images import render_text, resize_images
from slfac.testbed.mnist5k import default_cache, fetch_mnist5k
from slfac.testbed.wheels import PinnedWheel, read_member
from slfac.testbed.write import replace_file
from slfac.wire.manifest import Preprocessing

Case = Literal["efficientnet", "text"]
CASES: tuple[Case, ...] = ("efficientnet", "text")
_SIDE = 64
_TEXT = (3, 48, 192)
_CLASSIFIER = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
_CLASSIFIER_BYTES = 585_532
_CLASSIFIER_SHA256 = "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"
_RAPIDOCR = PinnedWheel(
    requirement="rapidocr-onnxruntime==1.4.4",
    sha256=("971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",),
    what="the text direction classifier of rapidocr",
    remedy="connect this machine, or try the other case",
)


@dataclass(frozen=True)
class Task:
    """One model and its images.

    Attributes:
        data: The images.
        dataset: What to call them.
        variants: Name -> arguments of :func:`slfac.export.export_bundle` that make it.
    """

    data: Path
    dataset: str
    variants: dict[str, dict[str, Any]]


def efficientnet(
    data: Path | None, out: Path, *, samples: dict[str, int], seed: int, say: Callable[[str], None]
) -> Task:
    """EfficientNet-Lite0, pretrained on ImageNet and from scratch, cut behind its third stage.

    Args:
        data: An IDX folder of grey images; None for MNIST digits.
        out: Where the scaled images go.
        samples: Split -> how many.
        seed: Which images, and which initial weights.
        say: Told what is fetched.

    Returns:
        The task.
    """
    source = data if data is not None else fetch_mnist5k(on_progress=say)
    images = out / f"images-seed{seed}"
    resize_images(source, images, side=_SIDE, samples=samples, seed=seed)
    common = {
        "model": "efficientnet_lite0",
        "cut": "blocks.2",
        "input_shape": (3, _SIDE, _SIDE),
        "num_classes": 10,
        "seed": seed,
        "preprocessing": Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.5,)),
    }
    weights = fetch_weights(on_status=say)
    name = "MNIST, 5000 images" if data is None else data.name
    return Task(images, name, {"pretrained": {**common, "weights": weights}, "scratch": common})


def text(out: Path, *, samples: dict[str, int], seed: int, say: Callable[[str], None]) -> Task:
    """A classifier that exists only as ONNX, which tells text from text upside down.

    Args:
        out: Where the drawn words go.
        samples: Split -> how many.
        seed: Of the words.
        say: Told what is fetched.

    Returns:
        The task.
    """
    words = out / f"words-seed{seed}"
    render_text(words, shape=_TEXT, samples=samples, seed=seed)
    arguments = {
        "onnx": fetch_classifier(say),
        "cut": "elementwise_add_0",
        "input_shape": _TEXT,
        "seed": seed,
        "preprocessing": Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.5,)),
    }
    return Task(words, "words drawn at 0 and 180 degrees", {"published": arguments})


def fetch_classifier(say: Callable[[str], None]) -> Path:
    """Fetch the ONNX file once.

    Args:
        say: Told of the download.

    Returns:
        The file, in a cache that later calls find without a network.

    Raises:
        DataError: It cannot be fetched.
        RunError: It cannot be written.
    """
    kept = default_cache() / Path(_CLASSIFIER).name
    if not kept.exists():
        say(f"downloading {_RAPIDOCR.what} (15 MB)")
        with tempfile.TemporaryDirectory() as folder:
            wheel = _RAPIDOCR.download(Path(folder))
            member = (_CLASSIFIER, _CLASSIFIER_BYTES, _CLASSIFIER_SHA256)
            replace_file(kept, read_member(wheel, *member, _RAPIDOCR.remedy))
    return kept
