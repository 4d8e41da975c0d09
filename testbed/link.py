"""The link between a device and its server: rates, delay and loss."""

from __future__ import annotations

import re
from dataclasses import dataclass

from slfac.wire.errors import SettingsError

_NUMBER = r"(\d{1,12}(?:\.\d{1,6})?)"
_RATE = re.compile(_NUMBER + "(bit|kbit|Mbit|Gbit)", re.ASCII)
_DELAY = re.compile(_NUMBER + "(us|ms|s)", re.ASCII)
_LOSS = re.compile(_NUMBER + "%", re.ASCII)
_RATE_UNITS = {"bit": 1.0, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
_DELAY_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_SLOWEST_BIT_PER_S, _FASTEST_BIT_PER_S = 1e3, 1e11
_LONGEST_DELAY_S, _LARGEST_LOSS = 10.0, 0.5
_REMEDY = (
    "give a rate from 1kbit to 100Gbit such as 5Mbit, or up and down as 1Mbit/10Mbit; behind it a "
    "delay each way (20ms) and a loss (1%), if any: 5Mbit/20ms/1%"
)


@dataclass(frozen=True)
class LinkRate:
    """One device's link to the server.

    Attributes:
        up_bit_per_s: From the device to the server.
        down_bit_per_s: From the server to the device.
        delay_s: From one end to the other, beside the time that the rate takes.
        loss: Share of packets that are lost each way, in [0, 0.5].
    """

    up_bit_per_s: float
    down_bit_per_s: float
    delay_s: float = 0.0
    loss: float = 0.0


def parse_link(text: str) -> LinkRate:
    """Read a link.

    Args:
        text: ``RATE[/RATE][/DELAY][/LOSS]``, such as ``5Mbit``, ``1Mbit/10Mbit`` for up and
            down, or ``20Mbit/20ms/1%``.

    Returns:
        The link.

    Raises:
        SettingsError: It is malformed; or a rate is not in 1 kbit/s to 100 Gbit/s, a delay
            above 10 s, or a loss above 50 %.
    """
    first, *rest = text.split("/")
    up = _parsed(_RATE, _RATE_UNITS, first)
    down, delay_s, loss = up, 0.0, 0.0
    if rest and _RATE.fullmatch(rest[0]):
        down = _parsed(_RATE, _RATE_UNITS, rest.pop(0))
    if rest and _DELAY.fullmatch(rest[0]):
        delay_s = _parsed(_DELAY, _DELAY_UNITS, rest.pop(0))
    if rest and _LOSS.fullmatch(rest[0]):
        loss = float(rest.pop(0).removesuffix("%")) / 100
    rates_fit = all(_SLOWEST_BIT_PER_S <= rate <= _FASTEST_BIT_PER_S for rate in (up, down))
    if rest or not rates_fit or delay_s > _LONGEST_DELAY_S or loss > _LARGEST_LOSS:
        raise SettingsError(f"setting link is {text!r}", _REMEDY)
    return LinkRate(up, down, delay_s, loss)


def _parsed(pattern: re.Pattern[str], units: dict[str, float], text: str) -> float:
    """A number with its unit; 0 for anything else."""
    match = pattern.fullmatch(text)
    return float(match[1]) * units[match[2]] if match else 0.0
