"""Messages that the server did not take, counted by what was wrong with them.

========== ================================================================================
Cause      What was wrong
========== ================================================================================
frames     not of two frames
header     no header frame of this protocol version, or a field out of bounds
key        its key is not enrolled, was revoked, or was given another name
roster     its device is not part of the run
session    it came before HELLO, or names another session
hello      a HELLO with a window too small
direction  only a server says that, or it is no place for a probe
order      a request with the wrong number, too early, or from one who takes nothing in
payload    too long, not as long as announced, out of order, or not as its sums say
credit     credit for more than was sent
request    whole, and not allowed now, or not what the model needs
codec      whole, and its payload cannot be decoded
front      whole, and its front does not fit
values     a step whose loss is not finite, or whose values are far too large
late       the others waited for it for too long
========== ================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from slfac.wire.errors import BundleError, CodecError, ProtocolError
from slfac.wire.messages import Chunk, Credit, Hello, Message, Request

_BY_MESSAGE: dict[type, str] = {
    Hello: "hello",
    Request: "payload",
    Chunk: "payload",
    Credit: "credit",
}


class Refusals:
    """Counts refused messages by cause, for the run and for each of its devices.

    Names that are none of the run's are counted for the run alone, so that nobody who makes up
    names can fill the memory.

    Args:
        devices: Names of the run's devices.
    """

    def __init__(self, devices: Iterable[str]) -> None:
        self._all: Counter[str] = Counter()
        self._by_device: dict[str, Counter[str]] = {name: Counter() for name in devices}

    def add(self, cause: str, device: str | None = None) -> bool:
        """Count one.

        Args:
            cause: What was wrong with it.
            device: Who sent it, where that is known.

        Returns:
            Whether to log it: the first, second, fourth, eighth, ... of a device and cause are,
            so that a flood of them does not fill the log.
        """
        self._all[cause] += 1
        own = self._by_device.get(device) if device is not None else None
        if own is None:
            own = self._all
        else:
            own[cause] += 1
        return own[cause] & (own[cause] - 1) == 0

    def counts(self, device: str | None = None) -> dict[str, int]:
        """How many there were, by cause.

        Args:
            device: Of which device; None for the run.
        """
        return dict(self._all if device is None else self._by_device[device])


def cause_of_message(header: Message | ProtocolError) -> str:
    """What is wrong with a message that came apart, or that its kind does not allow.

    Args:
        header: The message, or what its header frame failed with.
    """
    return _BY_MESSAGE.get(type(header), "header")


def cause_of_error(error: CodecError | ProtocolError | BundleError) -> str:
    """What is wrong with a request that was whole.

    Args:
        error: What reading it failed with.
    """
    if isinstance(error, ProtocolError):
        return error.cause or "request"
    if isinstance(error, CodecError):
        return "codec"
    return "front"
