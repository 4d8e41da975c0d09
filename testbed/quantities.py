"""Quantities as people write them: rates, times and shares, always with their unit."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from slfac.wire.errors import SettingsError

_NUMBER: Final = r"(\d{1,12}(?:\.\d{1,9})?)"
_RATE: Final = re.compile(rf"{_NUMBER}(bit|kbit|Mbit|Gbit)", re.ASCII)
_TIME: Final = re.compile(rf"{_NUMBER}(us|ms|s|min)", re.ASCII)
_SHARE: Final = re.compile(rf"{_NUMBER}%", re.ASCII)
_RATES: Final = {"bit": 1.0, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
_TIMES: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_SLOWEST_BIT_PER_S: Final = 1e3
_FASTEST_BIT_PER_S: Final = 1e11
_LONGEST_S: Final = 86400.0


class Rates(NamedTuple):
    """Bit rates of a link.

    Attributes:
        up_bit_per_s: From the device.
        down_bit_per_s: To the device.
    """

    up_bit_per_s: float
    down_bit_per_s: float


def parse_rates(text: str) -> Rates:
    """Read the rate of both directions.

    Args:
        text: Such as ``5Mbit``, or ``1Mbit/10Mbit`` for up and down.

    Returns:
        The rates.

    Raises:
        SettingsError: It is malformed, or a rate is not in 1 kbit/s to 100 Gbit/s.
    """
    up, slash, down = text.partition("/")
    rates = [_read(part, _RATE, _RATES) for part in (up, down if slash else up)]
    if any(rate is None or not _SLOWEST_BIT_PER_S <= rate <= _FASTEST_BIT_PER_S for rate in rates):
        raise SettingsError(
            f"{text!r} is no rate",
            "give a rate from 1kbit to 100Gbit such as 5Mbit, or up and down as 1Mbit/10Mbit",
        )
    return Rates(rates[0] or 0.0, rates[1] or 0.0)


def parse_time(text: str) -> float:
    """Read a time.

    Args:
        text: Such as ``20ms``; units are us, ms, s and min.

    Returns:
        Seconds.

    Raises:
        SettingsError: It is malformed, or longer than a day.
    """
    seconds = _read(text, _TIME, _TIMES)
    if seconds is None or seconds > _LONGEST_S:
        raise SettingsError(f"{text!r} is no time", "give one of up to a day such as 20ms or 1.5s")
    return seconds


def parse_share(text: str) -> float:
    """Read a share of a whole.

    Args:
        text: Such as ``1%``.

    Returns:
        The share, 0 to 1.

    Raises:
        SettingsError: It is malformed, or more than 100 %.
    """
    match = _SHARE.fullmatch(text)
    share = float(match[1]) / 100 if match else 2.0
    if share > 1:
        raise SettingsError(f"{text!r} is no share", "give one from 0% to 100% such as 0.5%")
    return share


def _read(text: str, pattern: re.Pattern[str], units: dict[str, float]) -> float | None:
    match = pattern.fullmatch(text)
    return float(match[1]) * units[match[2]] if match else None
