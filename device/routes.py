"""Which of the places that an address leads to answers: a name may have several."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Final

from slfac.wire.addresses import is_number, join_address, split_address

# Over a slow link a handshake takes less; a machine that is not there says nothing for ever.
KNOCK_S: Final = 2.0
# Address family, and what the system takes for an address of it.
Place = tuple[int, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


def look_up(host: str, port: int) -> tuple[Place, ...]:
    """All places that a host's name leads to.

    Args:
        host: A name or an address, IPv6 without brackets.
        port: The port.

    Raises:
        OSError: It leads nowhere.
        UnicodeError: It is no name.
    """
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys((int(info[0]), info[4]) for info in infos))


def name_of(place: Place) -> str:
    """A place's address as people write it, a link-local one with its interface.

    Args:
        place: The place.
    """
    family, address = place
    if family != socket.AF_INET6:
        return str(address[0])
    host, zone = str(address[0]), int(address[3]) if len(address) == 4 else 0
    if not zone or "%" in host:
        return host
    try:
        return f"{host}%{socket.if_indextoname(zone)}"
    except OSError:
        return f"{host}%{zone}"


def first_to_answer(places: Sequence[Place], timeout_s: float = KNOCK_S) -> Place | None:
    """Connect to all places at once; the first that accepts, or None.

    Args:
        places: From :func:`look_up`.
        timeout_s: How long to wait for one.
    """
    with contextlib.ExitStack() as opened, selectors.DefaultSelector() as selector:
        for family, address in places:
            with contextlib.suppress(OSError):
                tried = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                tried.setblocking(False)
                failed = tried.connect_ex(address)
                if failed in (0, errno.EINPROGRESS):
                    data = (tried, (family, address))
                    selector.register(tried, selectors.EVENT_WRITE, data)
        end_s = time.monotonic() + timeout_s
        while selector.get_map() and (left_s := end_s - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                connected, place = key.data
                if not connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    found: Place = place
                    return found
                selector.unregister(connected)
    return None


def choose(addresses: Sequence[str], timeout_s: float = KNOCK_S) -> str | None:
    """The address that answers first, as one that needs no looking up.

    Args:
        addresses: ``tcp://HOST:PORT`` each.
        timeout_s: How long to wait for an answer.

    Returns:
        The address; None where none answers.
    """
    places: dict[Place, int] = {}
    for address in addresses:
        host, port = split_address(address)
        with contextlib.suppress(OSError, UnicodeError):
            places.update(dict.fromkeys(look_up(host, port), port))
    place = first_to_answer([*places], timeout_s)
    return join_address(name_of(place), places[place]) if place is not None else None


class Fixed:
    """Where to connect to a server whose address was given.

    Args:
        address: ``tcp://HOST:PORT``.

    Attributes:
        at_most_s: How long to try what :meth:`find` says before it is asked again; None for
            as long as there is time.
    """

    def __init__(self, address: str) -> None:
        self.text = address
        self.at_most_s: float | None = None

    def find(self, timeout_s: float) -> str:
        """Where to connect now.

        Args:
            timeout_s: How long it may take at most.

        Returns:
            An address: of a name with several, one that answers.
        """
        host, port = split_address(self.text)
        self.at_most_s = None
        if is_number(host):
            return self.text
        try:
            several = len(look_up(host, port)) > 1
        except (OSError, UnicodeError):
            several = False
        if not several:
            return self.text
        # libzmq would take the first of them, and try that one for ever.
        self.at_most_s = 2 * KNOCK_S
        return choose([self.text], min(timeout_s, KNOCK_S)) or self.text

    def met(self, run: str) -> None:
        """Take note that the server was there.

        Args:
            run: Id of its run.
        """
