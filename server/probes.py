"""Answers to probes, with which a device measures its link: no session, nothing remembered."""

from __future__ import annotations

import time
from typing import Final

from slfac import __version__
from slfac.server.connection import Connection
from slfac.wire.errors import ProtocolError
from slfac.wire.frame import MAX_BODY_BYTES
from slfac.wire.messages import Echo, Probe

MAX_WAITING: Final = 64
# One for all answers, so that those which wait hold no memory.
_ZEROS: Final = memoryview(bytes(MAX_BODY_BYTES))


def answer_probe(connection: Connection, probe: Probe) -> None:
    """Queue the answer to a probe.

    Args:
        connection: Where it came from.
        probe: The probe.

    Raises:
        ProtocolError: Its sender leaves too many answers lying.
    """
    if len(connection.outbox) >= MAX_WAITING:
        raise ProtocolError(f"a probe came before {MAX_WAITING} answers were taken in")
    echo = Echo(session=probe.session, seq=probe.seq, software=__version__, time_ns=time.time_ns())
    connection.outbox.put(echo, _ZEROS[: probe.reply_bytes])
