"""Where things are on a board, as ``board/firstboot.py`` and its units have them."""

from __future__ import annotations

from typing import Final

KEYS: Final = "/etc/slfac/keys"
CACHE: Final = "/var/lib/slfac/cache"
JOURNAL: Final = "/var/lib/slfac/journal"
#: Where the file system with the data is mounted, whichever it is.
DATA: Final = "/var/lib/slfac/data"
#: Below the boot partition: what is injected.
DOCUMENT: Final = "slfac/device.json"
