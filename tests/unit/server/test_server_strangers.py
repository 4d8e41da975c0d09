"""Who has no key that is enrolled says nothing to the server, however often it tries."""

import contextlib
import queue
import shutil
import socket
import threading

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from harness.hostile import ask, hello, whole
from harness.offline import RUN, kept_bundle, plan
from slfac.cli.main import main
from slfac.server.events import Lost
from slfac.server.protocol import RunFacts
from slfac.server.roster import Roster
from slfac.server.service import Service
from slfac.wire.frame import MAX_BODY_BYTES, decode_header, encode_header
from slfac.wire.keys import AllowList, device_keys, new_keys
from slfac.wire.messages import Chunk, Ping, Refusal, Welcome

WAIT_MS = 20_000
ATTEMPTS = 50
AT_ONCE = 10
FACTS = RunFacts("boot", RUN, kept_bundle(), plan(), Roster(("a",)), 60.0)
REFUSED = {
    zmq.Event.HANDSHAKE_FAILED_AUTH,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
    zmq.Event.DISCONNECTED,
}


@pytest.fixture
def service(tmp_path):
    server = new_keys(tmp_path / "server", "server")
    allowed = AllowList(tmp_path / "server")
    for name in ("a", "revoked"):
        allowed.enroll(name, new_keys(tmp_path / name, "device", server))
    allowed.revoke("revoked")
    new_keys(tmp_path / "wrong", "device", server)
    new_keys(tmp_path / "other", "server")
    # Its own key is enrolled, but it takes another server for this one.
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere")
    shutil.copyfile(tmp_path / "other" / "server.key", tmp_path / "elsewhere" / "server.key")
    service = Service(
        address="tcp://127.0.0.1:*",
        keys=tmp_path / "server",
        facts=FACTS,
        max_request_bytes=1 << 20,
    )
    service.start()
    with contextlib.closing(service):
        yield service


@contextlib.contextmanager
def dealer(context, address, keys, sndhwm=1000):
    with context.socket(zmq.DEALER) as own, own.get_monitor_socket():
        if keys is not None:
            pair = device_keys(keys)
            own.curve_publickey, own.curve_secretkey = pair.own.public, pair.own.secret
            own.curve_serverkey = pair.server
        own.linger, own.sndhwm = 0, sndhwm
        own.connect(address)
        yield own
        own.disable_monitor()


def try_to_talk(address, keys):
    """Connect some at a time, and say what a device would say, until each was turned away."""
    with zmq.Context() as context:
        for _ in range(0, ATTEMPTS, AT_ONCE):
            with contextlib.ExitStack() as stack:
                dealers = [
                    stack.enter_context(dealer(context, address, keys)) for _ in range(AT_ONCE)
                ]
                for each in dealers:
                    for frames in [hello(1), *whole(ask(1, "join", run=RUN))]:
                        # Once turned away, a socket takes nothing any more.
                        with contextlib.suppress(zmq.Again):
                            each.send_multipart(frames, zmq.NOBLOCK)
                for each in dealers:
                    monitor, event = each.get_monitor_socket(), None
                    while event not in REFUSED:
                        assert monitor.poll(WAIT_MS), "nothing happens"
                        event = recv_monitor_message(monitor)["event"]
                        assert event != zmq.Event.HANDSHAKE_SUCCEEDED


def nothing_came(service):
    with pytest.raises(queue.Empty):
        service.events.get(timeout=0)
    assert service.traffic("a").up.bytes == 0
    assert service.refusals.counts() == {}
    return True


@pytest.mark.parametrize("keys", [None, "wrong", "elsewhere", "revoked"])
def test_not_a_byte_of_a_stranger_gets_past_the_handshake(service, tmp_path, keys):
    try_to_talk(service.address, tmp_path / keys if keys else None)
    assert nothing_came(service)
    knocked = sum(service.refused_keys().values())
    assert knocked >= ATTEMPTS if keys in {"wrong", "revoked"} else knocked == 0
    # The door is still there for those who may come in.
    with zmq.Context() as context, dealer(context, service.address, tmp_path / "a") as device:
        device.send_multipart(hello(2))
        assert device.poll(WAIT_MS)
        assert isinstance(decode_header(device.recv_multipart()[0]), Welcome)


def test_what_is_no_handshake_gets_no_further(service):
    port = int(service.address.rsplit(":", 1)[1])
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32)
    bombs = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 100,
        greeting + b"\x00\x05hello",
        greeting[:30],
        greeting.replace(b"NULL\0", b"CURVE") + b"\x06" + b"\xff" * 8 + b"x" * 100,
        greeting.replace(b"NULL\0", b"CURVE") + b"\x04\x06\x05HELLO" * 9,
    ]
    for number in range(60):
        raw = socket.create_connection(("127.0.0.1", port), WAIT_MS / 1e3)
        # Until the server hangs up, which may be in the middle of it.
        hung_up = contextlib.suppress(ConnectionError)
        with raw, hung_up:
            raw.sendall(bombs[number % len(bombs)])
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    assert nothing_came(service)


def test_the_next_message_of_a_key_that_is_revoked_is_refused(service, tmp_path, capsys):
    with zmq.Context() as context, dealer(context, service.address, tmp_path / "a") as device:

        def hear(kind):
            header = None
            while not isinstance(header, kind):
                assert device.poll(WAIT_MS)
                header = decode_header(device.recv_multipart()[0])
            return header

        device.send_multipart(hello(2))
        hear(Welcome)
        assert main(["keys", "revoke", "a", "--dir", str(tmp_path / "server")]) == 0
        assert "a running server refuses its next message" in capsys.readouterr().out
        for frames in whole(ask(2, "join", run=RUN)):
            device.send_multipart(frames)
        assert "not enrolled, or was revoked" in hear(Refusal).reason
        lost = service.events.get(timeout=WAIT_MS / 1e3)
        assert (type(lost), lost.index) == (Lost, 0)
        assert service.refusals.counts("a") == {"key": 1}
        with pytest.raises(queue.Empty):
            service.events.get(timeout=0)


class Held(bytes):
    """Holds up the I/O thread where it is about to send this."""

    def __new__(cls):
        body = super().__new__(cls)
        body.asked, body.go_on = threading.Event(), threading.Event()
        return body

    def __len__(self):
        self.asked.set()
        assert self.go_on.wait(WAIT_MS / 1e3)
        return 0


def test_a_flood_waits_at_the_device_and_not_in_the_servers_memory(service, tmp_path):
    held = Held()
    keys = tmp_path / "a"
    with zmq.Context() as context, dealer(context, service.address, keys, sndhwm=1) as device:
        device.send_multipart(hello(2))
        for frames in whole(ask(2, "join", run=RUN)):
            device.send_multipart(frames)
        service.events.get(timeout=WAIT_MS / 1e3)
        service.reply(0, 2, 1, ((encode_header(Ping(2)), held),))
        assert held.asked.wait(WAIT_MS / 1e3)
        flood = [encode_header(Chunk(2, 1, 0)), bytes(MAX_BODY_BYTES)]
        sent = 0
        while device.poll(500, zmq.POLLOUT) and sent < 2000:
            device.send_multipart(flood)
            sent += 1
        held.go_on.set()
    # What TCP's own buffers hold comes to it.
    assert sent < 500
