"""What a server says of its release, and of a device's."""

from harness.offline import RUN, SESSION, kept_bundle, plan, request
from slfac.server.connection import Connection
from slfac.server.protocol import Protocol, RunFacts
from slfac.server.roster import Roster
from slfac.wire.frame import decode_header
from slfac.wire.messages import Hello
from slfac.wire.transfer import WINDOW_BYTES

FACTS = RunFacts("boot", RUN, kept_bundle(), plan(), Roster(("a",)), 10.0)


def greet(protocol, software):
    """Say HELLO as a device of some release; its connection, and the welcome."""
    connection = Connection(b"1", "a", 1 << 20, heard_s=0.0)
    hello = Hello(SESSION, False, WINDOW_BYTES, software, "a", "")
    protocol.on_message(connection, "a", hello, memoryview(b""))
    welcome = decode_header(connection.outbox.peek()[0])
    connection.outbox.pop()
    return connection, welcome


def test_a_release_that_differs_is_logged_and_handed_on(caplog):
    events = []
    protocol = Protocol(FACTS, events.append)
    connection, _ = greet(protocol, "0.0\x1b[2J")
    (record,) = caplog.records
    assert "device a runs slfac '0.0\\x1b[2J', this server" in record.getMessage()
    protocol.on_message(connection, "a", request("join"), memoryview(b""))
    (event,) = events
    assert event.software == "0.0\x1b[2J"


def test_the_same_release_is_nothing_to_speak_of(caplog, monkeypatch):
    monkeypatch.setattr("slfac.server.protocol.__version__", "0.0")
    _, welcome = greet(Protocol(FACTS, lambda _: None), "0.0")
    assert welcome.software == "0.0"
    assert caplog.records == []
