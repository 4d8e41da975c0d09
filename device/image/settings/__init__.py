"""What makes one board of a generic image: ``slfac/device.json`` on its boot partition."""

from slfac.device.image.settings.document import (
    Document,
    KeyTexts,
    Wifi,
    check_document,
    pack_document,
    unpack_document,
)
from slfac.device.image.settings.personal import Personal, personal_document

__all__ = [
    "Document",
    "KeyTexts",
    "Personal",
    "Wifi",
    "check_document",
    "pack_document",
    "personal_document",
    "unpack_document",
]
