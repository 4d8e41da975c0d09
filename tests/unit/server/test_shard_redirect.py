"""A device that says HELLO to a rank which does not serve it is sent on."""

import pytest

from harness.offline import RUN, SESSION, kept_bundle, plan, request
from slfac.server.connection import Connection
from slfac.server.protocol import Protocol, RunFacts
from slfac.server.roster import Roster
from slfac.wire.errors import ProtocolError
from slfac.wire.frame import decode_header
from slfac.wire.messages import Hello, Refusal, Welcome
from slfac.wire.transfer import WINDOW_BYTES, cut_transfer


def greet(protocol, name):
    """A device's connection, and what it is answered."""
    connection = Connection(name.encode(), name, 1 << 20, heard_s=0.0)
    hello = Hello(SESSION, False, WINDOW_BYTES, "0", name, "")
    protocol.on_message(connection, name, hello, memoryview(b""))
    head, _ = connection.outbox.peek()
    return connection, decode_header(head)


@pytest.mark.parametrize(
    ("address", "words"),
    [("tcp://10.0.0.5:5556", "tcp://10.0.0.5:5556"), ("tcp://*:5556", "port 5556 of this host")],
)
def test_a_device_of_another_rank_is_sent_on_and_gets_no_session(address, words):
    events = []
    facts = RunFacts("boot", RUN, kept_bundle(), plan(), Roster(("a", "b", "c")), 10.0)
    facts.elsewhere[1] = address
    assert facts.served == (0, 2)
    protocol = Protocol(facts, events.append)
    connection, answer = greet(protocol, "b")
    # What a release shows that does not know the address field.
    assert answer == Refusal(
        SESSION,
        f"device 'b' is served at {words}",
        "start it with that --server, or install the server's release of slfac, which finds it",
        address,
    )
    assert connection.session is None
    ((head, body),) = cut_transfer(request("join"), ())
    with pytest.raises(ProtocolError, match="before HELLO"):
        protocol.on_message(connection, "b", decode_header(head), memoryview(body))
    assert events == []
    assert isinstance(greet(protocol, "c")[1], Welcome)
