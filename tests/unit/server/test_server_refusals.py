"""What is refused is counted by cause, and neither the counts nor the log grow without bound."""

import contextlib
import logging

import pytest
import zmq

from harness.offline import RUN, SESSION, kept_bundle, plan, request
from slfac.server.protocol import RunFacts
from slfac.server.refusals import Refusals, cause_of_error
from slfac.server.roster import Roster
from slfac.server.service import Service
from slfac.wire.errors import BundleError, CodecError, ProtocolError
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.messages import Chunk, Credit, Hello, Ping, Probe, Welcome
from slfac.wire.transfer import WINDOW_BYTES, Part, cut_transfer

WAIT_MS = 20_000
FACTS = RunFacts("boot", RUN, kept_bundle(), plan(), Roster(("a", "b")), 60.0)
HELLO = encode_header(Hello(SESSION, False, WINDOW_BYTES, "0", "a", ""))
FRONT = [Part("front", "front", b"x" * 100)]


def frames(message, parts=()):
    return list(cut_transfer(message, parts))


def altered(message, parts):
    (head, body), *rest = frames(message, parts)
    return [(head, bytes([body[0] ^ 1]) + bytes(body[1:])), *rest]


# What a device says after HELLO, and what it is counted as.
FAULTS = {
    "one frame": ([(HELLO,)], "frames"),
    "three frames": ([(HELLO, b"", b"")], "frames"),
    "no header": ([(b"SF\x01\xff", b"")], "header"),
    "another version": ([(b"SF\x02" + HELLO[3:], b"")], "header"),
    "half a header": ([(HELLO[:-9], b"")], "header"),
    "a small window": ([(encode_header(Hello(9, False, 1, "0", "a", "")), b"")], "hello"),
    "another session": (frames(request("join", session=SESSION + 1)), "session"),
    "a server's word": ([(encode_header(Ping(SESSION)), b"")], "direction"),
    "a probe": ([(encode_header(Probe(SESSION, 1, 5)), b"")], "direction"),
    "a number too high": (frames(request("join", 7)), "order"),
    "two at once": (frames(request("join", 1)) + frames(request("join", 2)), "order"),
    "a payload to a join": (frames(request("join"), FRONT), "payload"),
    "another length": ([(frames(request("front"), FRONT)[0][0], b"x" * 99)], "payload"),
    "a flipped bit": (altered(request("front"), FRONT), "payload"),
    "a chunk of nothing": ([(encode_header(Chunk(SESSION, 1, 0)), b"x")], "payload"),
    "false credit": ([(encode_header(Credit(SESSION, 1 << 40)), b"")], "credit"),
}


@contextlib.contextmanager
def dealing(service):
    with contextlib.closing(service), zmq.Context() as context:
        service.start()
        with context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(service.address)
            yield dealer


def hear(dealer, kind):
    while True:
        assert dealer.poll(WAIT_MS), "the server says nothing"
        header = decode_header(dealer.recv_multipart()[0])
        if isinstance(header, kind):
            return header


def settle(dealer):
    """Wait until whatever was said is done with; a HELLO may void the answer to the one before."""
    again = Hello(SESSION + 5, False, WINDOW_BYTES, "0", "a", "")
    dealer.send_multipart([encode_header(again), b""])
    while hear(dealer, Welcome).session != SESSION + 5:
        pass


@pytest.fixture
def service():
    return Service(address="tcp://127.0.0.1:*", keys=None, facts=FACTS, max_request_bytes=1 << 20)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refused_message_is_counted_by_its_cause_and_device(service, fault):
    said, cause = FAULTS[fault]
    with dealing(service) as dealer:
        for message in [(HELLO, b""), *said]:
            dealer.send_multipart(message)
        settle(dealer)
        assert service.refusals.counts() == {cause: 1}
        assert service.refusals.counts("a") == {cause: 1}
        assert service.refusals.counts("b") == {}


def test_what_the_trainer_refuses_is_counted_as_it_says(service):
    with dealing(service) as dealer:
        dealer.send_multipart([HELLO, b""])
        hear(dealer, Welcome)
        service.refuse(0, SESSION, "reason", "remedy", "codec")
        service.refuse(1, SESSION, "reason", "remedy", "late")
        service.close()
        assert service.refusals.counts("a") == {"codec": 1}
        assert service.refusals.counts() == {"codec": 1, "late": 1}


def test_a_request_that_came_again_is_counted_and_not_refused(service):
    with dealing(service) as dealer:
        dealer.send_multipart([HELLO, b""])
        for _ in range(4):
            dealer.send_multipart(frames(request("join"))[0])
        settle(dealer)
        assert service.repeated == 3
        assert service.refusals.counts() == {}


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (CodecError("x"), "codec"),
        (BundleError("x"), "front"),
        (ProtocolError("x"), "request"),
        (ProtocolError("x", cause="order"), "order"),
    ],
)
def test_what_a_whole_request_fails_with_tells_the_cause(error, cause):
    assert cause_of_error(error) == cause


def test_made_up_names_take_no_memory():
    refusals = Refusals(["a"])
    for number in range(1000):
        refusals.add("roster", f"name-{number}")
    refusals.add("key")
    assert refusals.counts() == {"roster": 1000, "key": 1}
    assert refusals.counts("a") == {}
    with pytest.raises(KeyError):
        refusals.counts("name-1")


def test_a_flood_fills_no_log(service, caplog):
    with dealing(service) as dealer, caplog.at_level(logging.WARNING):
        dealer.send_multipart([HELLO, b""])
        for _ in range(1000):
            dealer.send_multipart([b"rubbish", b""])
        settle(dealer)
        assert service.refusals.counts("a") == {"header": 1000}
    said = [line for line in caplog.messages if "does not speak slfac's protocol" in line]
    assert len(said) == 10


def test_greetings_of_another_release_fill_no_log(service, caplog):
    with dealing(service) as dealer, caplog.at_level(logging.WARNING):
        for _ in range(1000):
            dealer.send_multipart([HELLO, b""])
        settle(dealer)
    said = [line for line in caplog.messages if "install the same release" in line]
    assert len(said) == 10
