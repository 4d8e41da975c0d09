"""Whether the board's clock was held down since one last looked."""

from __future__ import annotations

from slfac.device.energy.conditions import overcurrents, throttle_bits
from slfac.device.energy.host import Host

_NOW = 0xF
_SINCE_BOOT_SHIFT = 16


class ThrottleWatch:
    """Tells of throttling on a Raspberry Pi, and of over-current events on a Jetson.

    Args:
        host: Where to look.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._before: tuple[int, int] | None = None

    def __call__(self) -> bool | None:
        """Whether it happened since the last call, or happens now; None where no board tells.

        What lies in between shows once, as a first event since boot, or as a counted one.
        """
        bits, counts = throttle_bits(self._host), overcurrents(self._host)
        if bits is None and not counts:
            return None
        state = ((bits or 0) >> _SINCE_BOOT_SHIFT & _NOW, sum(counts))
        before, self._before = self._before or state, state
        return bool((bits or 0) & _NOW) or state != before
