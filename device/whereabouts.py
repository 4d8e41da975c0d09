"""Where a device's server is: where it was looked for, or where that one has sent it on."""

from __future__ import annotations

from typing import Final, Protocol

from slfac.wire.addresses import sent_on
from slfac.wire.errors import ProtocolError

# A server that is started again may be somewhere else: so long it is looked for where it was.
PATIENCE_S: Final = 5.0
_MOST_HOPS: Final = 4


class Where(Protocol):
    """Says where a server is.

    Attributes:
        text: What to call that place, for people.
        at_most_s: How long to try what :meth:`find` said before it is asked again; None for
            as long as there is time.
    """

    text: str
    at_most_s: float | None

    def find(self, timeout_s: float) -> str:
        """Where to connect now.

        Args:
            timeout_s: How long it may take at most.

        Raises:
            LinkError: There is no such place, or it is not clear which one.
        """

    def met(self, run: str) -> None:
        """Take note that the server was there.

        Args:
            run: Id of its run.
        """


class Whereabouts:
    """A place, or where the server there has sent this device on.

    Args:
        home: The place.

    Attributes:
        away: Where this device was sent; empty while it is looking at home.
    """

    def __init__(self, home: Where) -> None:
        self.away = ""
        self._home = home
        self._hops = 0

    @property
    def text(self) -> str:
        """What to call the present place, for people."""
        return f"{self.away} (sent on by {self._home.text})" if self.away else self._home.text

    @property
    def at_most_s(self) -> float | None:
        """See :attr:`Where.at_most_s`."""
        return PATIENCE_S if self.away else self._home.at_most_s

    def find(self, timeout_s: float) -> str:
        """See :meth:`Where.find`."""
        return self.away or self._home.find(timeout_s)

    def met(self, run: str) -> None:
        """See :meth:`Where.met`."""
        self._hops = 0
        self._home.met(run)

    def follow(self, address: str, reached: str) -> None:
        """Go where a server says.

        Args:
            address: What it said.
            reached: Where it was reached.

        Raises:
            ProtocolError: That is no address, or servers send this device round and round.
        """
        self._hops += 1
        if self._hops > _MOST_HOPS:
            raise ProtocolError(
                f"the server at {self._home.text} sends this device on, and so do others",
                "check the servers' --advertise",
            )
        self.away = sent_on(address, reached)

    def go_home(self) -> None:
        """Look at home again."""
        self.away = ""
        self._hops = 0
