"""How long bytes take on a link, and what its radio or wire draws for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from slfac.hw_profiles.estimate import (
    Estimate,
    Guess,
    Term,
    Unknown,
    exact,
    figure_of,
    inverse,
    product,
    total,
)
from slfac.hw_profiles.schema import Link, Profile
from slfac.hw_profiles.values import Value
from slfac.wire.errors import SettingsError
from slfac.wire.meter import PACKET_BYTES

LINK: Final = "link"
RADIO: Final = "radio"
_MOST_MBITS = 1e6
_RATE = re.compile(r"(?P<mbits>\d+(\.\d+)?)mbit(/(?P<rtt>\d+(\.\d+)?)ms)?", re.IGNORECASE)
_NAMED = re.compile(r"(?P<name>.+?)(-(?P<mbits>\d+(\.\d+)?))?(/(?P<rtt>\d+(\.\d+)?)ms)?")


@dataclass(frozen=True)
class Path:
    """The way to the server.

    Attributes:
        name: What the user called it.
        link: What the profile knows of it; None of a bare rate.
        at_home: Whether that was measured on the very board.
        up_mbits: 10**6 bits a second that the board sends.
        down_mbits: The same, received.
        rtt_ms: Round trip to the server.
    """

    name: str
    link: Link | None
    at_home: bool
    up_mbits: Guess
    down_mbits: Guess
    rtt_ms: Guess

    def send_ms(self, size: Estimate) -> Guess:
        """How long sending takes.

        Args:
            size: Bytes on TCP.
        """
        return _airtime_ms(size, self.up_mbits)

    def receive_ms(self, size: Estimate) -> Guess:
        """How long receiving takes.

        Args:
            size: Bytes on TCP.
        """
        return _airtime_ms(size, self.down_mbits)

    def send_j(self, size: Estimate) -> Guess:
        """Energy above idle for sending.

        Args:
            size: Bytes on TCP.
        """
        link = self.link
        if link is None:
            return Unknown(f"link {self.name} has no figures of energy")
        return self._joules(size, link.send_j_per_mb, link.send_w, link.up_mbits, "sending")

    def receive_j(self, size: Estimate) -> Guess:
        """Energy above idle for receiving.

        Args:
            size: Bytes on TCP.
        """
        link = self.link
        if link is None:
            return Unknown(f"link {self.name} has no figures of energy")
        return self._joules(
            size, link.receive_j_per_mb, link.receive_w, link.down_mbits, "receiving"
        )

    def _joules(
        self,
        size: Estimate,
        per_mb: Value | None,
        power: Value | None,
        rate: Value | None,
        what: str,
    ) -> Guess:
        per_frame = self.link.j_per_frame if self.link is not None else None
        if per_mb is not None:
            parts: list[Guess] = [product(size.times(1e-6), self._figure(per_mb), what)]
            if per_frame is not None:
                packets = size.times(1 / PACKET_BYTES)
                parts.append(product(packets, self._figure(per_frame), f"packets, {what}"))
            return total(parts, what)
        if power is not None and rate is not None:
            # However long the path holds it up, the radio is busy for as long as at full speed.
            airtime_s = inverse(self._figure(rate), 1.0, "full speed", RADIO)
            seconds = product(size.times(8e-6), airtime_s, "airtime")
            return product(seconds, self._figure(power), what)
        return Unknown(f"what {what} draws is not known of link {self.name}")

    def _figure(self, value: Value) -> Estimate:
        return figure_of(value, cause=RADIO, at_home=self.at_home)


def choose_path(text: str, profile: Profile) -> Path:
    """The way that a user names.

    Args:
        text: A link of the profile, such as ``wifi``; the same at a rate, ``wifi-20`` for
            20 Mbit/s each way; or a rate alone, ``20mbit``, of which no energy is known. Each may
            end in a round trip: ``wifi-20/5ms``.
        profile: What has the links.

    Returns:
        The way.

    Raises:
        SettingsError: It is nothing of these.
    """
    links = {link.name: link for link in profile.links}
    names = ", ".join(links) or "none"
    remedy = f"name a link of the profile ({names}), at a rate if need be, or a rate: 20mbit/5ms"
    bare = _RATE.fullmatch(text)
    if bare:
        rate = _rate(text, bare["mbits"], remedy)
        no_rtt = Unknown("the round trip is not known: say it, as in 20mbit/5ms")
        return Path(text, None, False, rate, rate, _rtt(bare["rtt"]) or no_rtt)
    at_home = profile.provenance.origin == "measured"
    if text in links:
        return _known(text, links[text], at_home, None, None)
    named = _NAMED.fullmatch(text)
    if named is None or named["name"] not in links:
        raise SettingsError(f"--link is {text!r}, which {profile.board.name} does not have", remedy)
    limit = None if named["mbits"] is None else _rate(text, named["mbits"], remedy)
    return _known(text, links[named["name"]], at_home, limit, _rtt(named["rtt"]))


def _known(
    text: str, link: Link, at_home: bool, limit: Estimate | None, rtt: Estimate | None
) -> Path:
    def guess(value: Value | None, field: str, say: str) -> Guess:
        if value is None:
            return Unknown(f"link {link.name} has no {field}: {say}")
        return figure_of(value, cause=LINK, at_home=at_home)

    say = f"say a rate, as in {link.name}-20"
    up = limit or guess(link.up_mbits, "up_mbits", say)
    down = limit or guess(link.down_mbits, "down_mbits", say)
    trip = rtt or guess(link.rtt_ms, "rtt_ms", f"say it, as in {text.partition('/')[0]}/5ms")
    return Path(text, link, at_home, up, down, trip)


def _rate(text: str, mbits: str, remedy: str) -> Estimate:
    if not 0 < float(mbits) <= _MOST_MBITS:
        raise SettingsError(f"--link is {text!r}: a rate of {mbits} Mbit/s", remedy)
    return exact(float(mbits), f"{mbits} Mbit/s, as --link says")


def _rtt(ms: str | None) -> Estimate | None:
    return None if ms is None else exact(float(ms), f"{ms} ms, as --link says")


def _airtime_ms(size: Estimate, rate: Guess) -> Guess:
    if isinstance(rate, Unknown):
        return rate
    said = f"{size.value:.0f} bytes at {rate.value:g} Mbit/s"
    took = product(size, inverse(rate, 8e-3, rate.source, LINK), rate.source)
    return took.of(Term(said, took.value, "ms", took.tier, f"{rate.source}; {size.source}"))
