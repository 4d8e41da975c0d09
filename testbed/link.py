"""The link between a device and its server, written in one line: rates, delay and loss."""

from __future__ import annotations

from dataclasses import dataclass

from slfac.testbed.quantities import parse_rates, parse_share, parse_time
from slfac.wire.errors import SettingsError

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
    parts = text.split("/")
    delay_s = loss = 0.0
    try:
        if parts[-1].endswith("%"):
            loss = parse_share(parts.pop())
        if parts and parts[-1].endswith("s"):
            delay_s = parse_time(parts.pop())
        rates = parse_rates("/".join(parts))
    except SettingsError as error:
        raise SettingsError(f"setting link is {text!r}", _REMEDY) from error
    if delay_s > _LONGEST_DELAY_S or loss > _LARGEST_LOSS:
        raise SettingsError(f"setting link is {text!r}", _REMEDY)
    return LinkRate(*rates, delay_s, loss)
