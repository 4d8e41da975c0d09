"""Probes: answered at once to whoever is let in, beside every session and every count."""

import contextlib
import queue
import threading
import time

import pytest
import zmq

from harness.offline import RUN, SESSION, kept_bundle, plan, request
from slfac import __version__
from slfac.server.connection import Connection
from slfac.server.events import Arrived
from slfac.server.probes import MAX_WAITING
from slfac.server.protocol import Protocol, RunFacts
from slfac.server.roster import Roster
from slfac.server.service import Service
from slfac.wire.errors import ProtocolError
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.keys import AllowList, device_keys, new_keys
from slfac.wire.messages import Echo, Hello, Probe, Refusal, Reply, Welcome
from slfac.wire.sockets import connect_device
from slfac.wire.transfer import WINDOW_BYTES, cut_transfer

WAIT_S = 20
FACTS = RunFacts("boot", RUN, kept_bundle(), plan(), Roster(("a",)), 10.0)
HELLO = Hello(SESSION, False, WINDOW_BYTES, "0", "a", "")


@pytest.fixture
def service(tmp_path):
    server = new_keys(tmp_path / "server", "server")
    for name in ("a", "late"):
        key = new_keys(tmp_path / name, "device", server)
        AllowList(tmp_path / "server").enroll(name, key)
    service = Service(
        address="tcp://127.0.0.1:*",
        keys=tmp_path / "server",
        facts=FACTS,
        max_request_bytes=1 << 20,
    )
    service.start()
    with contextlib.closing(service):
        yield service


@pytest.fixture
def connect(service, tmp_path):
    """Opens a connection of a device; what it gets is the function that says and hears."""
    context = zmq.Context()
    sockets = []

    def connect(name="a"):
        socket = connect_device(context, service.address, device_keys(tmp_path / name))
        sockets.append(socket)

        def ask(message, body=b""):
            assert socket.poll(WAIT_S * 1000, zmq.POLLOUT)
            socket.send_multipart([encode_header(message), body])
            assert socket.poll(WAIT_S * 1000), "the server says nothing"
            head, answer = socket.recv_multipart()
            return decode_header(head), answer

        return ask

    yield connect
    for socket in sockets:
        monitor = socket.get_monitor_socket()
        socket.disable_monitor()
        monitor.close()
        socket.close()
    context.term()


@pytest.mark.parametrize("reply_bytes", [0, 1, 20_000, 65_536])
def test_a_probe_is_answered_with_the_length_that_it_asks_for(connect, reply_bytes):
    before_ns = time.time_ns()
    echo, body = connect()(Probe(5, 9, reply_bytes), bytes(65_536))
    assert (echo.session, echo.seq, echo.software) == (5, 9, __version__)
    assert before_ns <= echo.time_ns <= time.time_ns()
    assert body == bytes(reply_bytes)


def test_probes_leave_the_session_of_their_device_and_its_counts_alone(service, connect):
    device, doctor = connect(), connect()
    assert isinstance(device(HELLO)[0], Welcome)
    counted = service.traffic("a").up.bytes
    for seq in range(30):
        assert isinstance(doctor(Probe(5, seq, 1000), bytes(1000))[0], Echo)
    assert service.traffic("a").up.bytes == counted
    assert service.traffic("a").down.bytes < 30 * 1000
    assert service.traffic("a").connections == 1
    asked = threading.Thread(target=answer_join, args=(service,))
    asked.start()
    assert isinstance(device(request("join"))[0], Reply)
    asked.join()
    with pytest.raises(queue.Empty):
        service.events.get(timeout=0)


def test_probes_of_a_devices_own_session_are_in_its_counts(service, connect):
    device, probing, foreign = connect(), connect(), connect()
    assert isinstance(device(HELLO)[0], Welcome)
    traffic = service.traffic("a")
    probes = [Probe(SESSION, seq, 100) for seq in (1, 2)]
    (echo, body), _ = (probing(probe, bytes(10)) for probe in probes)
    sent = [encode_header(message) for message in (HELLO, *probes)]
    assert traffic.up.bytes == sum(map(len, sent)) + 20
    # What the second answer takes may not be counted yet.
    assert traffic.down.messages >= 2
    assert traffic.down.bytes > len(encode_header(echo)) + len(body)
    assert traffic.connections == 2
    foreign(Probe(SESSION + 1, 1, 0))
    assert traffic.connections == 2


def answer_join(service):
    """Answer a device's request to join, as the trainer does."""
    assert isinstance(service.events.get(timeout=WAIT_S), Arrived)
    reply = Reply(SESSION, 1, "join", 0, "train", 0.0, 0.0, 0.0, 0.0, ())
    service.reply(0, SESSION, 1, cut_transfer(reply, ()))


def test_a_device_that_is_not_of_the_run_is_told_so(connect):
    refusal, _ = connect("late")(Probe(5, 1, 0))
    assert isinstance(refusal, Refusal)
    assert "'late' is not part of this run" in refusal.reason


@pytest.fixture
def keyless():
    """Speaks to a server without keys: a function that opens a connection of its own."""
    service = Service(
        address="tcp://127.0.0.1:*", keys=None, facts=FACTS, max_request_bytes=1 << 20
    )
    service.start()
    with contextlib.closing(service), zmq.Context() as context, contextlib.ExitStack() as opened:

        def connect():
            socket = opened.enter_context(context.socket(zmq.DEALER))
            socket.linger = 0
            socket.connect(service.address)

            def ask(message):
                socket.send_multipart([encode_header(message), b""])
                assert socket.poll(WAIT_S * 1000), "the server says nothing"
                return decode_header(socket.recv_multipart()[0])

            return ask

        connect.service = service
        yield connect


def test_a_server_without_keys_answers_whoever_can_reach_it(keyless):
    device, one, other = keyless(), keyless(), keyless()
    assert isinstance(device(HELLO), Welcome)
    for seq in range(3):
        assert (one(Probe(5, seq, 0)).seq, other(Probe(6, seq, 0)).session) == (seq, 6)
    assert isinstance(device(Probe(5, 1, 0)), Refusal)


def test_without_keys_a_session_tells_whose_probe_it_is(keyless):
    device, own, other = keyless(), keyless(), keyless()
    device(HELLO)
    own(Probe(SESSION, 1, 0))
    other(Probe(5, 1, 0))
    assert keyless.service.traffic("a").connections == 2


def test_who_has_probed_a_server_without_keys_does_not_become_a_device(keyless):
    ask = keyless()
    assert isinstance(ask(Probe(5, 1, 0)), Echo)
    refusal = ask(HELLO)
    assert "a probe and another message came on one connection" in refusal.reason


@pytest.mark.parametrize("name", ["", "b"])
def test_a_server_without_keys_takes_devices_of_the_run_alone(keyless, name):
    refusal = keyless()(Hello(SESSION, False, WINDOW_BYTES, "0", name, ""))
    assert f"device {name!r} is not part of this run" in refusal.reason


@pytest.mark.parametrize("messages", [(HELLO, Probe(5, 1, 0)), (Probe(5, 1, 0), HELLO)])
def test_a_connection_is_for_probes_or_for_a_session(messages):
    events = []
    protocol = Protocol(FACTS, events.append)
    first, second = messages
    connection = Connection(b"1", "a", 1 << 20, heard_s=0.0, probes=isinstance(first, Probe))
    protocol.on_message(connection, "a", first, memoryview(b""))
    with pytest.raises(ProtocolError, match="on one connection"):
        protocol.on_message(connection, "a", second, memoryview(b""))


def test_who_takes_no_answers_in_is_refused_before_they_fill_the_memory():
    protocol = Protocol(FACTS, lambda _: None)
    connection = Connection(b"1", "a", 1 << 20, heard_s=0.0, probes=True)
    for seq in range(MAX_WAITING):
        protocol.on_message(connection, "a", Probe(5, seq, 65_536), memoryview(b""))
    with pytest.raises(ProtocolError, match="64 answers"):
        protocol.on_message(connection, "a", Probe(5, 99, 65_536), memoryview(b""))
