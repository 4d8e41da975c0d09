"""What the I/O thread tells the trainer."""

from __future__ import annotations

from dataclasses import dataclass

from slfac.wire.messages import Bye, Request
from slfac.wire.transfer import Transfer


@dataclass(frozen=True)
class Arrived:
    """A device's request is in, whole and checked.

    Attributes:
        index: The device.
        session: Its session; an answer to an older session goes nowhere.
        transfer: The request with its payload.
        request_bytes: What it took at the socket API.
    """

    index: int
    session: int
    transfer: Transfer[Request]
    request_bytes: int


@dataclass(frozen=True)
class Lost:
    """A device is out of the run until it joins again.

    Attributes:
        index: The device.
        reason: Why, for people.
    """

    index: int
    reason: str


@dataclass(frozen=True)
class Left:
    """A device said goodbye.

    Attributes:
        index: The device.
        bye: What it said.
    """

    index: int
    bye: Bye


@dataclass(frozen=True)
class Failed:
    """The I/O thread itself failed; the server cannot go on.

    Attributes:
        error: What happened.
    """

    error: BaseException


Event = Arrived | Lost | Left | Failed
