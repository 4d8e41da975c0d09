"""Looks at an image that was made from a Raspberry Pi OS: is the layer whole?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

from slfac.device.image.opened import Opened
from slfac.device.image.raspios.build import LAYER, VENDOR
from slfac.wire.errors import ImageError

_MOST_LAYER: Final = 512 << 20
_MOST_VENDOR: Final = 64 * 1024
_AGAIN: Final = "build or fetch the image again"
_SHA256: Final = re.compile(r"^sha256=([0-9a-f]{64})$", re.MULTILINE)


def check_raspios(opened: Opened) -> Iterator[str]:
    """Compare the layer with what installs it.

    Args:
        opened: The image.

    Yields:
        A line for each thing that is in order.

    Raises:
        ImageError: Something is not.
    """
    yield f"Raspberry Pi OS with slfac {opened.mark.version}, {len(opened.partitions)} partitions"
    vendor = opened.boot.read(VENDOR, _MOST_VENDOR) or b""
    told = _SHA256.search(vendor.decode("utf-8", "replace"))
    if told is None:
        raise ImageError(f"the boot partition's {VENDOR} is not ours", _AGAIN)
    layer = opened.boot.read(LAYER, _MOST_LAYER)
    if layer is None or hashlib.sha256(layer).hexdigest() != told[1]:
        raise ImageError(f"the boot partition's {LAYER} is missing or damaged", _AGAIN)
    yield f"layer of {len(layer) / 1e6:.0f} MB, as {VENDOR} expects it"
