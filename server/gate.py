"""Who may talk to the server: the allow-list, asked at the handshake and at every message."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import zmq
import zmq.auth.thread

from slfac.wire.keys import AllowList
from slfac.wire.sockets import ZAP_DOMAIN

_log = logging.getLogger(__name__)


class Gate:
    """Answers ZeroMQ's authentication requests and names the key behind a message.

    A revoked key keeps its open connection, because authentication happens only at the
    handshake; therefore :meth:`name_of` asks the list again for every message.

    Args:
        context: The context of the server's sockets.
        keys: The server's key folder.

    Attributes:
        refused: How often each unknown key (Z85) knocked.
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
        if self._at_handshake.name_of(public) is not None:
            return True
        self.refused[public] += 1
        if self.refused[public] == 1:
            _log.warning("refused a connection: key %s is not enrolled", public)
        return False

    def name_of(self, public: str) -> str | None:
        """Device behind a message, or None when its key is no longer enrolled.

        Args:
            public: The message's ``User-Id``.
        """
        return self._at_message.name_of(public)

    def close(self) -> None:
        """Stop answering."""
        self._authenticator.stop()
