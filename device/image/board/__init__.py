"""What stands on a board beside the wheels: units, rules, and what runs before the wheels do."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

_UNITS: Final = "/usr/lib/systemd/system"


class BoardFile(NamedTuple):
    """A file for boards.

    Attributes:
        name: In this folder.
        place: Where it goes on the board.
        mode: Its mode there; root owns it.
        least_systemd: Release of systemd below which it is left out; older ones warn about it.
    """

    name: str
    place: str
    mode: int = 0o644
    least_systemd: int = 0

    def read(self) -> bytes:
        """What is in it."""
        return (Path(__file__).parent / self.name).read_bytes()


BOARD_FILES: Final = (
    BoardFile("firstboot.py", "/usr/lib/slfac/firstboot.py", 0o755),
    BoardFile("growroot.py", "/usr/lib/slfac/growroot.py", 0o755),
    BoardFile("slfac-firstboot.service", f"{_UNITS}/slfac-firstboot.service"),
    BoardFile("slfac-growroot.service", f"{_UNITS}/slfac-growroot.service"),
    BoardFile("slfac-device.service", f"{_UNITS}/slfac-device.service"),
    BoardFile(
        "slfac-device-backoff.conf",
        f"{_UNITS}/slfac-device.service.d/10-backoff.conf",
        least_systemd=254,
    ),
    BoardFile("slfac-wifi@.service", f"{_UNITS}/slfac-wifi@.service"),
    BoardFile("60-slfac-power.rules", "/usr/lib/udev/rules.d/60-slfac-power.rules"),
    BoardFile("60-slfac-wifi.rules", "/usr/lib/udev/rules.d/60-slfac-wifi.rules"),
    BoardFile("slfac-power.conf", "/usr/lib/slfac/slfac-power.conf"),
    BoardFile("slfac-sysusers.conf", "/usr/lib/sysusers.d/slfac.conf"),
    BoardFile("slfac-tmpfiles.conf", "/usr/lib/tmpfiles.d/slfac.conf"),
)
#: Units that start by themselves.
ENABLED: Final = ("slfac-device.service", "slfac-firstboot.service", "slfac-growroot.service")
