"""The server's protocol with the device ends of its connections, fed by hand."""

from __future__ import annotations

from harness.offline import RUN, SESSION, kept_bundle, plan, request
from slfac.server.connection import Connection
from slfac.server.protocol import Protocol, RunFacts
from slfac.server.roster import Roster
from slfac.wire.frame import decode_header
from slfac.wire.messages import Hello, Reply
from slfac.wire.transfer import WINDOW_BYTES, Part, cut_transfer

GRACE_S = 10.0


class Ends:
    """The protocol with the device ends of its connections."""

    def __init__(self, bundle=None, **changes):
        self.events = []
        run = plan(**changes)
        self.protocol = Protocol(
            RunFacts("boot", RUN, bundle or kept_bundle(), run, Roster(("a", "b")), GRACE_S),
            self.events.append,
        )
        self.count = 0

    def connect(
        self, name="a", session=SESSION, *, resume=False, window_bytes=WINDOW_BYTES, heard_s=0.0
    ):
        self.count += 1
        connection = Connection(b"%d" % self.count, name, 1 << 20, heard_s=heard_s)
        hello = Hello(session, resume, window_bytes, "0", name, "")
        self.protocol.on_message(connection, name, hello, memoryview(b""))
        return connection

    def send(self, connection, message, body=b""):
        self.protocol.on_message(connection, connection.device, message, memoryview(body))

    def ask(self, connection, kind="step", seq=1, parts=(), **changes):
        for head, body in cut_transfer(request(kind, seq, **changes), parts):
            self.send(connection, decode_header(head), body)

    def answer(self, seq=1, session=SESSION, index=0, data=b"answer"):
        frames = cut_transfer(reply(seq, session), [Part("front", "front", data)])
        self.protocol.reply(index, session, seq, frames)
        return frames


def reply(seq, session=SESSION):
    return Reply(session, seq, "step", 0, "train", 0.5, 0.0, 0.0, 0.0, ())


def drain(connection):
    """What waits to be sent, as far as credit goes."""
    sent = []
    while (message := connection.outbox.peek()) is not None:
        sent.append((message[0], bytes(message[1])))
        connection.outbox.pop()
    return sent


def messages(connection):
    return [decode_header(head) for head, _ in drain(connection)]
