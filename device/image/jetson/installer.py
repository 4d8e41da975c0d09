"""The installer for a Jetson: one shell script with the layers behind it.

None of NVIDIA's files are in it. onnxruntime for the GPU is the user's own to bring.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from slfac.device.image.jetson.release import ABIS
from slfac.device.image.layer.archive import LayerArchive, script
from slfac.device.image.layer.tree import Tree
from slfac.wire.errors import ImageError

_FOLDER: Final = Path(__file__).parent
_INSTALLER: Final = _FOLDER / "installer.sh"
_UNITS: Final = "usr/lib/systemd/system"
_FILES: Final = {
    f"{_UNITS}/slfac-device.service.d/20-jetson.conf": "slfac-jetson.conf",
    f"{_UNITS}/slfac-firstboot.service.d/10-users.conf": "slfac-users.conf",
    f"{_UNITS}/slfac-nvpmodel.service": "slfac-nvpmodel.service",
    "usr/lib/slfac/describe.py": "describe.py",
    "usr/lib/slfac/try_provider.py": "try_provider.py",
}
# Where things lie behind the script is written into it: numbers of a fixed width.
_WIDTH: Final = 12


def jetson_tree() -> Tree:
    """What a Jetson has beside what every board has."""
    tree = Tree()
    for place, name in _FILES.items():
        tree.file(place, (_FOLDER / name).read_bytes(), 0o755 if name.endswith(".py") else 0o644)
    wants = "etc/systemd/system/multi-user.target.wants/slfac-nvpmodel.service"
    tree.link(wants, f"/{_UNITS}/slfac-nvpmodel.service")
    return tree


def pack_installer(layers: Sequence[LayerArchive], settings: bytes = b"") -> bytes:
    """Put an installer together.

    Args:
        layers: Its layers, one for each Python.
        settings: ``device.json`` of one board; empty for an installer for all.

    Returns:
        The file; the same arguments give the same bytes.
    """
    head = _head(layers, len(settings), 0)
    # Its length does not depend on the numbers in it.
    head = _head(layers, len(settings), len(head))
    return b"".join([head, *(layer.data for layer in layers), settings])


def _head(layers: Sequence[LayerArchive], settings_bytes: int, begin: int) -> bytes:
    lines = []
    for layer in layers:
        size = len(layer.data)
        row = (layer.abi, layer.version, _place(begin), str(size), layer.sha256)
        lines.append(" ".join([*row, str(layer.needed_kb)]))
        begin += size
    values = {
        "layers": "\n".join(lines),
        "settings_at": _place(begin),
        "settings_size": str(settings_bytes),
    }
    return script(values, _INSTALLER).encode()


def _place(begin: int) -> str:
    """Where something begins, as ``tail -c`` counts, from 1; always of the same length."""
    return f"{begin + 1:0{_WIDTH}d}"


def write_installer(
    target: Path,
    *,
    jetpacks: Sequence[int],
    make_layer: Callable[[str, Tree], LayerArchive],
    settings: bytes = b"",
) -> int:
    """Write an installer.

    Args:
        target: The file to make; only its owner can read it if it holds settings.
        jetpacks: For which it is, such as ``(6, 7)``.
        make_layer: Makes the layer of a Python, such as ``cp310``, with files besides.
        settings: ``device.json`` of one board; empty for an installer for all.

    Returns:
        Its size in bytes.

    Raises:
        ImageError: It cannot be made or written.
    """
    data = pack_installer([make_layer(ABIS[one], jetson_tree()) for one in jetpacks], settings)
    fresh = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        mode = 0o700 if settings else 0o755
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(handle, "wb") as stream:  # noqa: PTH123 - pathlib opens no descriptors
            stream.write(data)
        fresh.replace(target)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ImageError(
            f"cannot write {target}: {error.strerror}", "check the path, and who may write there"
        ) from error
    return len(data)
