"""The bundle that the server trains: held already, cached, or fetched from the server."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from slfac.device.link import Link
from slfac.wire.bundle import Bundle, install_bundle, open_bundle
from slfac.wire.errors import BundleError
from slfac.wire.manifest import MANIFEST_NAME

# A front for small boards; and a server that is not trusted yet cannot fill their memory.
_MAX_BUNDLE_BYTES = 256 << 20
_log = logging.getLogger(__name__)


def get_bundle(
    held: Bundle | None,
    wanted: str,
    *,
    cache: Path,
    link: Link,
    on_status: Callable[[str], None],
) -> Bundle:
    """Find the bundle with an id, fetching it when neither folder nor cache has it.

    Args:
        held: Bundle that the device was given; None for none.
        wanted: Id that the server named.
        cache: Where fetched bundles are kept, one folder an id.
        link: The link to fetch it over.
        on_status: Told where it comes from.

    Returns:
        The verified bundle.

    Raises:
        BundleError: What the server sent is not the bundle that it named.
    """
    if held is not None and held.id == wanted:
        return held
    if held is not None:
        on_status(f"the server trains bundle {wanted[:12]}, not {held.id[:12]} of {held.path}")
    folder = cache / wanted
    try:
        cached = open_bundle(folder, "device")
        if cached.id == wanted:
            return cached
    except BundleError as error:
        _log.debug("no usable bundle in the cache: %s", error)
    reply = link.request("bundle", max_reply_bytes=_MAX_BUNDLE_BYTES).reply
    contents = {
        section.name: bytes(data)
        for section, data in zip(reply.header.sections, reply.payload, strict=True)
        if section.role == "bundle"
    }
    sent = hashlib.sha256(contents.get(MANIFEST_NAME, b"")).hexdigest()
    if sent != wanted:
        raise BundleError(f"the server sent bundle {sent[:12]}, it had named {wanted[:12]}")
    bundle = install_bundle(folder, contents, "device")
    size_kb = sum(len(data) for data in contents.values()) / 1e3
    on_status(f"fetched bundle {wanted[:12]} from the server ({size_kb:.0f} kB)")
    return bundle
