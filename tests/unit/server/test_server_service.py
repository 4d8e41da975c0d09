"""The I/O thread over a real socket: who is let in, what is counted, what is left behind."""

import contextlib
import dataclasses
import queue
import socket
import threading
import time

import psutil
import pytest
import zmq

from harness.offline import RUN, SESSION, kept_bundle, plan, request
from slfac.server.events import Arrived, Left, Lost
from slfac.server.protocol import RunFacts
from slfac.server.roster import Roster
from slfac.server.service import Service
from slfac.wire.errors import AddressError, KeyFileError
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.gate import OTHERS, Gate
from slfac.wire.keys import AllowList, device_keys, new_keys
from slfac.wire.messages import Bye, Hello, Refusal, Reply, Summary, Timings, Welcome
from slfac.wire.transfer import WINDOW_BYTES, cut_transfer

WAIT_S = 20
FACTS = RunFacts("boot", RUN, kept_bundle(), plan(), Roster(("a",)), 0.0)


def make(address="tcp://127.0.0.1:*", keys=None):
    return Service(address=address, keys=keys, facts=FACTS, max_request_bytes=1 << 20)


@pytest.fixture
def service():
    service = make()
    service.start()
    with contextlib.closing(service):
        yield service


class Device:
    """A DEALER that says what it is told to say."""

    def __init__(self, context, address, keys=None):
        self.socket = context.socket(zmq.DEALER)
        if keys is not None:
            self.socket.curve_publickey = keys.own.public
            self.socket.curve_secretkey = keys.own.secret
            self.socket.curve_serverkey = keys.server
        self.socket.linger = 0
        self.socket.connect(address)
        self.sent = self.received = 0

    def say(self, head, body=b""):
        self.socket.send_multipart([head, body])
        self.sent += len(head) + len(body)

    def hello(self, name="a", session=SESSION, resume=False):
        self.say(encode_header(Hello(session, resume, WINDOW_BYTES, "0", name, "")))
        return self.hear()

    def hear(self):
        assert self.socket.poll(WAIT_S * 1000), "the server says nothing"
        head, body = self.socket.recv_multipart()
        self.received += len(head) + len(body)
        return decode_header(head)


@pytest.fixture
def connect(service):
    context = zmq.Context()
    devices = []

    def connect():
        devices.append(Device(context, service.address))
        return devices[-1]

    yield connect
    for device in devices:
        device.socket.close()
    context.term()


def test_every_byte_is_counted_both_ways(service, connect):
    device = connect()
    assert isinstance(device.hello(), Welcome)
    for seq in (1, 2):
        for head, body in cut_transfer(request("join", seq), ()):
            device.say(head, body)
        event = service.events.get(timeout=WAIT_S)
        assert isinstance(event, Arrived)
        reply = Reply(SESSION, seq, "join", 0, "train", 0.0, 0.0, 0.0, 0.0, ())
        service.reply(0, SESSION, seq, cut_transfer(reply, ()))
        while not isinstance(device.hear(), Reply):
            pass
    traffic = service.traffic("a")
    assert (traffic.up.bytes, traffic.connections) == (device.sent, 1)
    # The thread counts a message after it handed it over; closing waits for the thread.
    service.close()
    while device.received < traffic.down.bytes:
        device.hear()
    assert traffic.down.bytes == device.received


def test_a_device_outside_the_run_and_a_message_before_hello_are_turned_away(connect):
    refusal = connect().hello(name="other")
    assert isinstance(refusal, Refusal)
    assert "'other' is not part of this run" in refusal.reason
    device = connect()
    device.say(encode_header(request("join")))
    refusal = device.hear()
    assert isinstance(refusal, Refusal)
    # Without keys, no key can be at fault.
    assert refusal.reason == "a message came before HELLO"


@pytest.mark.parametrize("head", [b"", b"SF", b"SF\x63rest", b"GET / HTTP/1.1", b"SF\x01\xff"])
def test_rubbish_ends_the_session_with_a_reason(service, connect, head):
    device = connect()
    device.hello()
    device.say(head)
    refusal = device.hear()
    assert isinstance(refusal, Refusal)
    assert refusal.reason
    assert isinstance(service.events.get(timeout=WAIT_S), Lost)
    assert isinstance(device.hello(session=SESSION + 1), Welcome), "it may begin afresh"


def test_messages_of_other_shapes_are_passed_over(service, connect):
    device = connect()
    device.hello()
    device.socket.send(b"one frame")
    device.socket.send_multipart([b"three", b"frames", b"here"])
    assert isinstance(device.hello(session=SESSION + 1), Welcome)
    assert service.refusals.counts() == service.refusals.counts("a") == {"frames": 2}


class HeldBody(bytes):
    """Holds up the I/O thread where it is about to send this."""

    def __new__(cls):
        body = super().__new__(cls)
        body.asked, body.go_on = threading.Event(), threading.Event()
        return body

    def __len__(self):
        self.asked.set()
        assert self.go_on.wait(WAIT_S)
        return 0


def hang_up(device, port):
    """Close the socket, and wait until the server's end is closed too."""
    device.socket.close(linger=WAIT_S * 1000)
    deadline_s = time.monotonic() + WAIT_S
    while any(
        each.laddr.port == port and each.status != psutil.CONN_LISTEN
        for each in psutil.Process().net_connections("tcp")
        if each.status != psutil.CONN_TIME_WAIT
    ):
        assert time.monotonic() < deadline_s


def test_a_goodbye_counts_though_the_server_has_something_left_to_say(service, connect):
    device = connect()
    device.hello()
    for head, body in cut_transfer(request("join", 1), ()):
        device.say(head, body)
    assert isinstance(service.events.get(timeout=WAIT_S), Arrived)
    reply = Reply(SESSION, 1, "join", 0, "train", 0.0, 0.0, 0.0, 0.0, ())
    held = HeldBody()
    service.reply(0, SESSION, 1, ((encode_header(reply), held),))
    assert held.asked.wait(WAIT_S)
    summary = Summary(False, 1, 1, 1, "3", "1", "m", 5)
    device.say(encode_header(Bye(SESSION, True, Timings(), summary)))
    hang_up(device, int(service.address.rsplit(":", 1)[1]))
    held.go_on.set()
    event = service.events.get(timeout=WAIT_S)
    assert isinstance(event, Left), event


def test_a_refusal_by_the_trainer_reaches_the_device(service, connect):
    device = connect()
    device.hello()
    service.refuse(0, SESSION, "reason", "remedy", "request")
    assert device.hear() == Refusal(SESSION, "reason", "remedy")


def test_a_taken_port_is_said_and_nothing_is_left_open(tmp_path):
    new_keys(tmp_path, "server")
    threads = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressError, match="is taken"):
            make(address, tmp_path)
    assert threading.active_count() == threads


def test_missing_keys_are_said_and_nothing_is_left_open(tmp_path):
    threads = threading.active_count()
    with pytest.raises(KeyFileError):
        make(keys=tmp_path / "none")
    assert threading.active_count() == threads


def test_a_service_that_never_started_can_be_closed(tmp_path):
    new_keys(tmp_path, "server")
    service = make(keys=tmp_path)
    address = service.address
    service.close()
    again = make(address, tmp_path)
    again.close()


def test_strangers_with_ever_new_keys_do_not_fill_the_memory(tmp_path):
    new_keys(tmp_path, "server")
    context = zmq.Context()
    gate = Gate(context, tmp_path)
    try:
        for number in range(3000):
            assert not gate.callback("slfac", b"%040d" % number)
        assert not gate.callback("slfac", b"%040d" % 0)
        assert len(gate.refused) == 1001
        assert gate.refused[OTHERS] == 2000
        assert gate.refused["0" * 40] == 2
    finally:
        gate.close()
        context.term()


def test_an_allow_list_that_cannot_be_read_revokes_nobody_and_lets_nobody_in(tmp_path):
    server = new_keys(tmp_path, "server")
    AllowList(tmp_path).enroll("a", new_keys(tmp_path / "d", "device", server))
    public = device_keys(tmp_path / "d").own.public
    context = zmq.Context()
    gate = Gate(context, tmp_path)
    try:
        assert gate.name_of(public.decode()) == "a"
        (tmp_path / "allowed").rename(tmp_path / "elsewhere")
        (tmp_path / "allowed").symlink_to("allowed")
        assert gate.name_of(public.decode()) == "a"
        assert not gate.callback("slfac", public)
    finally:
        gate.close()
        context.term()


def test_a_key_that_was_given_another_name_in_mid_run_speaks_for_neither(tmp_path):
    new_keys(tmp_path, "server")
    certificate = new_keys(tmp_path / "d", "device", tmp_path / "server.key")
    allowed = AllowList(tmp_path)
    allowed.enroll("a", certificate)
    facts = dataclasses.replace(FACTS, roster=Roster(("a", "b")))
    service = Service(
        address="tcp://127.0.0.1:*", keys=tmp_path, facts=facts, max_request_bytes=1 << 20
    )
    service.start()
    with contextlib.closing(service), zmq.Context() as context:
        device = Device(context, service.address, device_keys(tmp_path / "d"))
        with device.socket:
            assert device.hello().device == "a"
            allowed.revoke("a")
            allowed.enroll("b", certificate)
            for head, body in cut_transfer(request("join"), ()):
                device.say(head, body)
            refusal = device.hear()
            assert isinstance(refusal, Refusal)
            assert "enrolled as 'a', now as 'b'" in refusal.reason
            lost = service.events.get(timeout=WAIT_S)
            assert (type(lost), lost.index) == (Lost, 0)
            with pytest.raises(queue.Empty):
                service.events.get(timeout=0)
