"""Which JetPack a root file system is of, as ``/etc/nv_tegra_release`` tells.

Its first line is ``# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64,
DATE: ...``. JetPack 6 is Jetson Linux 36 on Ubuntu 22.04; JetPack 7 is 38 and 39 on Ubuntu 24.04
(https://developer.nvidia.com/embedded/jetpack-archive).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from slfac.wire.errors import ImageError

_LINE: Final = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
_JETPACKS: Final = {36: 6, 38: 7, 39: 7}
#: JetPack -> its Python's ABI.
ABIS: Final = {6: "cp310", 7: "cp312"}


@dataclass(frozen=True)
class Release:
    """A release of Jetson Linux.

    Attributes:
        linux: Such as ``36.4.3``.
        jetpack: Its JetPack, such as 6.
    """

    linux: str
    jetpack: int


def read_release(text: str) -> Release:
    """Read ``/etc/nv_tegra_release``.

    Args:
        text: What it holds.

    Returns:
        The release.

    Raises:
        ImageError: It is none, or one for which there are no wheels.
    """
    found = _LINE.match(text)
    if found is None:
        raise ImageError(
            f"nv_tegra_release begins with {text[:40]!r}, which names no release",
            "run NVIDIA's apply_binaries.sh first",
        )
    linux = f"{found[1]}.{found[2]}"
    jetpack = _JETPACKS.get(int(found[1]))
    if jetpack is None:
        raise ImageError(
            f"Jetson Linux {linux} is not supported: its Python has no wheels here",
            "use JetPack 6 (Jetson Linux 36) or 7 (38, 39)",
        )
    return Release(linux, jetpack)
