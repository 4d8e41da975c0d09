"""Where a device finds its server: at the address it was given, or where that one sends it on."""

from __future__ import annotations

from slfac.wire.errors import ProtocolError
from slfac.wire.sockets import sent_on

# A server that is started again may be somewhere else: so long it is looked for where it was.
PATIENCE_S = 5.0
_MOST_HOPS = 4


class Whereabouts:
    """The server's present address.

    Args:
        home: The address that the device was given.

    Attributes:
        address: Where to connect to.
    """

    def __init__(self, home: str) -> None:
        self.address = home
        self._home = home
        self._hops = 0

    @property
    def away(self) -> bool:
        """Whether the server at home sent this device on."""
        return self.address != self._home

    def follow(self, address: str) -> None:
        """Go where a server says.

        Args:
            address: What it said.

        Raises:
            ProtocolError: That is no address, or servers send this device round and round.
        """
        self._hops += 1
        if self._hops > _MOST_HOPS:
            raise ProtocolError(
                f"the server at {self._home} sends this device on, and so do {_MOST_HOPS} others",
                "check the servers' --advertise",
            )
        self.address = sent_on(address, self.address)

    def arrive(self) -> None:
        """Take note that the server at the address takes this device in."""
        self._hops = 0

    def go_home(self) -> None:
        """Begin with the given address again."""
        self.address = self._home
        self._hops = 0

    def __str__(self) -> str:
        """For people."""
        return f"{self.address} (sent on by {self._home})" if self.away else self.address
