"""Makes one board of a generic image: its settings and data, into the image or onto the card."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from slfac.device.image.data_partition import Contents, fill_data, look_at
from slfac.device.image.mark import RASPIOS
from slfac.device.image.opened import Opened
from slfac.device.image.partitions import Partition
from slfac.device.image.settings.document import (
    MOST_BYTES,
    Document,
    pack_document,
    unpack_document,
)
from slfac.device.image.settings.places import DOCUMENT
from slfac.wire.errors import DataError, DriveError, ImageError

# Raspberry Pi OS listens for SSH only once it has seen this file on its boot partition.
# https://www.raspberrypi.com/documentation/computers/remote-access.html
_SSH = "ssh"


def injected(opened: Opened) -> Document | None:
    """What is injected in an image, and no board has applied yet.

    Args:
        opened: The image.

    Returns:
        The settings; None where there are none.

    Raises:
        ImageError: They cannot be read.
        SettingsError: They are no settings.
    """
    data = opened.boot.read(DOCUMENT, MOST_BYTES)
    return unpack_document(data) if data is not None else None


def room_for(opened: Opened, folder: Path) -> tuple[Partition, Contents]:
    """Where a folder of data would go.

    Args:
        opened: The image.
        folder: The data.

    Returns:
        The partition for it, and what the folder holds.

    Raises:
        DataError: The image has no such partition, or the folder cannot be copied.
        ImageError: The image is damaged.
    """
    partition = opened.data_partition
    if partition is None:
        raise DataError(
            f"{opened.path} has no partition for data",
            "put it onto a USB drive, and name that drive's file system and the folder on it: "
            "--data-at LABEL/FOLDER",
        )
    return partition, look_at(folder)


def inject(opened: Opened, document: Document, *, data: Path | None = None) -> None:
    """Write settings, in place of those injected before, and read them back.

    An image's file that then holds secrets can be read by its owner only.

    Args:
        opened: The image.
        document: The settings.
        data: A folder to fill the partition for data with.

    Raises:
        SettingsError: The settings are too many.
        DataError: The data cannot be copied, or does not fit.
        ImageError: It cannot be written, or reads back as something else.
        DriveError: It may not be written.
        MissingExtraError: A program is not installed.
    """
    text = pack_document(document)
    _allow(opened, secret=document.has_secrets)
    if data is not None:
        fill_data(opened.path, room_for(opened, data)[0], data)
    opened.boot.erase(DOCUMENT)
    opened.boot.write(DOCUMENT, text)
    if opened.mark.board == RASPIOS and document.ssh_keys:
        opened.boot.erase(_SSH)
        opened.boot.write(_SSH, b"")
    _settle(opened.path)


def _allow(opened: Opened, *, secret: bool) -> None:
    try:
        handle = os.open(opened.path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise DriveError(
            f"{opened.path} may not be written: {error.strerror}",
            "run it as its owner, for a drive with sudo; a card may have a lock switch",
        ) from error
    try:
        if secret and opened.is_file:
            # Before there is a secret in it.
            os.fchmod(handle, stat.S_IMODE(os.fstat(handle).st_mode) & 0o600)
    finally:
        os.close(handle)


def _settle(path: Path) -> None:
    """Wait until everything is on the medium."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise ImageError(
            f"cannot write {path}: {error.strerror}", "inject once more, or take another card"
        ) from error
