"""What runs on hosts, as one archive that Python runs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from importlib.resources import files
from typing import Final

_PACKAGE: Final = "slfac.testbed.hosts.remote"
_MAIN: Final = f"from {_PACKAGE}.__main__ import main\n\nmain()\n"
# The oldest that an archive knows: the same files give the same bytes.
_TIME: Final = (1980, 1, 1, 0, 0, 0)


def probe_source() -> bytes:
    """The program that says what a host is."""
    return files(_PACKAGE).joinpath("probe.py").read_bytes()


def helper_archive() -> bytes:
    """The archive of everything else that runs on hosts."""
    sources = {
        entry.name: entry.read_bytes()
        for entry in files(_PACKAGE).iterdir()
        if entry.name.endswith(".py")
    }
    folder = _PACKAGE.replace(".", "/")
    members = {f"{folder}/{name}": data for name, data in sources.items()}
    parts = folder.split("/")[:-1]
    for length in range(1, len(parts) + 1):
        members[f"{'/'.join(parts[:length])}/__init__.py"] = b""
    members["__main__.py"] = _MAIN.encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def helper_name(data: bytes) -> str:
    """What to call an archive on a host.

    Args:
        data: The archive.
    """
    return f"helper-{hashlib.sha256(data).hexdigest()[:12]}.pyz"
