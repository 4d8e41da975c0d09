"""Who may talk to a server: the allow-list, asked at the handshake and at every message."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import zmq
import zmq.auth.thread

from slfac.wire.errors import KeyFileError
from slfac.wire.keys import AllowList
from slfac.wire.sockets import ZAP_DOMAIN

OTHERS = "other keys"
# A stranger can make a new key for each knock; the count of them must not grow for ever.
_MAX_REFUSED = 1000
_log = logging.getLogger(__name__)


class Gate:
    """Answers ZeroMQ's authentication requests and names the key behind a message.

    A revoked key keeps its open connection, because authentication happens only at the
    handshake; therefore :meth:`name_of` asks the list again for every message.

    Args:
        context: The context of the server's sockets.
        keys: The server's key folder.

    Attributes:
        refused: How often each unknown key (Z85) knocked; beyond the first thousand keys
            all count as :data:`OTHERS`.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: Path) -> None:
        self.refused: Counter[str] = Counter()
        # One list a thread: they keep what they have read.
        self._at_handshake = AllowList(keys)
        self._at_message = AllowList(keys)
        self._authenticator = zmq.auth.thread.ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(
            domain=ZAP_DOMAIN.decode(), credentials_provider=self
        )

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a key may open a connection (called by pyzmq's authenticator).

        Args:
            domain: The socket's ZAP domain.
            key: The client's public key in Z85.
        """
        del domain
        public = key.decode("ascii")
        try:
            if self._at_handshake.name_of(public) is not None:
                return True
        except KeyFileError as error:
            # Raised here it would end the thread, and every later handshake would hang.
            _log.error("refused a connection: %s", error)
        if public not in self.refused and len(self.refused) >= _MAX_REFUSED:
            public = OTHERS
        self.refused[public] += 1
        if self.refused[public] == 1:
            _log.warning("refused a connection: key %s is not enrolled", public)
        return False

    def name_of(self, public: str) -> str | None:
        """Device behind a message, or None when its key is no longer enrolled.

        Args:
            public: The message's ``User-Id``.
        """
        try:
            return self._at_message.name_of(public)
        except KeyFileError as error:
            # The devices that were let in go on: a list that cannot be read revokes nobody.
            _log.error("the allow-list stands as it was: %s", error)
            return self._at_message.last_name_of(public)

    def close(self) -> None:
        """Stop answering."""
        self._authenticator.stop()
