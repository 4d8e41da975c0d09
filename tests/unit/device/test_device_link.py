"""The link against servers that hang up, fall silent, or promise too much."""

import contextlib
import socket
import threading
import time

import pytest
import zmq

from harness.offline import plan
from slfac.device.link import Link
from slfac.wire.errors import AuthError, LinkError, ProtocolError, SettingsError
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.messages import Hello, Refusal, Reply, Section, Welcome

pytestmark = pytest.mark.device

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 1 + 31)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"


@pytest.fixture
def link(port):
    """Makes a link to the port; it is closed when the test ends."""
    with contextlib.ExitStack() as made:

        def make(connect_timeout_s=20.0, reconnect_timeout_s=20.0):
            device = Link(
                address=f"tcp://127.0.0.1:{port}",
                keys=None,
                name="d",
                bundle_id="",
                connect_timeout_s=connect_timeout_s,
                reconnect_timeout_s=reconnect_timeout_s,
                on_status=str,
            )
            made.callback(device.close)
            return device

        yield make


class HangsUp:
    """Accepts each connection and hangs up: at once, or after the handshake."""

    def __init__(self, listener, *, shakes_hands):
        self.accepted = 0
        self._listener = listener
        self._shakes_hands = shakes_hands
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                device, _ = self._listener.accept()
                self.accepted += 1
                with device, contextlib.suppress(OSError):
                    if self._shakes_hands:
                        device.sendall(GREETING + bytes([4, len(READY)]) + READY)
                        while len(device.recv(4096)) < 40:
                            pass


class Answers:
    """A ROUTER that greets, and answers each request with what it was given."""

    def __init__(self, port, *sections, sends_on=""):
        self.hellos = 0
        self._sections = sections
        self._sends_on = sends_on
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 0
        self._router.bind(f"tcp://127.0.0.1:{port}")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self._router.close()
        self._context.term()

    def _run(self):
        while not self._ended.is_set():
            if not self._router.poll(50):
                continue
            identity, head, _ = self._router.recv_multipart()
            told = decode_header(head)
            self.hellos += isinstance(told, Hello)
            if isinstance(told, Hello) and self._sends_on:
                answer = Refusal(told.session, "elsewhere", "go", self._sends_on)
            elif isinstance(told, Hello):
                answer = Welcome(
                    told.session, told.resume, "b", "r", "d", 0, 1, "0" * 64, 1 << 20, plan()
                )
            else:
                answer = Reply(
                    told.session, told.seq, told.kind, 0, "train", 0.0, 0.0, 0.0, 0.0,
                    self._sections,
                )  # fmt: skip
            self._router.send_multipart([identity, encode_header(answer), b""])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def other_port():
    return free_port()


def listen(port):
    return socket.create_server(("127.0.0.1", port))


def test_a_server_that_hangs_up_after_the_handshake_is_not_stormed(port, link):
    with HangsUp(listen(port), shakes_hands=True) as server:
        device = link(connect_timeout_s=1.5)
        with pytest.raises(LinkError, match="did not come back within 2 s"):
            device.join()
        # Pauses of 0.1, 0.5 and 1 s fit into the time.
        assert 2 <= server.accepted <= 6


def test_a_reply_beyond_what_was_asked_for_is_refused(port, link):
    promised = Section("front", "front", "", (), "", 100_001, 0)
    with Answers(port, promised):
        device = link()
        device.join()
        with pytest.raises(ProtocolError, match="100001 bytes exceeds the 100000 allowed"):
            device.request("join", max_reply_bytes=100_000)


def test_a_stranger_that_hangs_up_is_told_apart_at_once(port, link):
    with HangsUp(listen(port), shakes_hands=False):
        device = link()
        with pytest.raises(AuthError, match="hung up during the handshake"):
            device.join()


def test_a_tunnel_without_its_far_end_is_waited_for(port, link):
    device = link()
    with Answers(port):
        device.join()
        device.request("join", max_reply_bytes=0)
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(device.request("join", max_reply_bytes=0))
    )
    with HangsUp(listen(port), shakes_hands=False) as tunnel:
        asking.start()
        until_s = time.monotonic() + 20
        while tunnel.accepted < 5 and time.monotonic() < until_s:
            asking.join(0.05)
        assert tunnel.accepted >= 5
    with Answers(port):
        asking.join(30)
    assert len(answers) == 1


def test_a_tunnel_that_stays_silent_is_a_server_that_did_not_come_back(port, link):
    device = link(reconnect_timeout_s=1.0)
    with Answers(port):
        device.join()
    with listen(port), pytest.raises(LinkError, match="did not come back within 1 s") as caught:
        device.request("join", max_reply_bytes=0)
    assert caught.type is LinkError


def test_a_device_goes_where_it_is_sent_and_stays_there(port, other_port, link):
    device = link()
    with Answers(port, sends_on=f"tcp://*:{other_port}") as home, Answers(other_port) as other:
        assert device.join().device == "d"
        device.request("join", max_reply_bytes=0)
        assert (home.hellos, other.hellos) == (1, 1)


def test_a_device_asks_at_home_again_when_its_server_has_moved(port, other_port, link, monkeypatch):
    monkeypatch.setattr("slfac.device.link.PATIENCE_S", 0.3)
    device, third = link(), free_port()
    with Answers(port, sends_on=f"tcp://127.0.0.1:{other_port}"), Answers(other_port):
        device.join()
    with Answers(port, sends_on=f"tcp://127.0.0.1:{third}"), Answers(third) as moved:
        device.request("join", max_reply_bytes=0)
        assert moved.hellos == 1


def test_servers_that_send_a_device_in_a_circle_are_found_out(port, other_port, link):
    with (
        Answers(port, sends_on=f"tcp://*:{other_port}"),
        Answers(other_port, sends_on=f"tcp://127.0.0.1:{port}"),
        pytest.raises(ProtocolError, match=f"at tcp://127.0.0.1:{port} sends this device on, and"),
    ):
        link().join()


@pytest.mark.parametrize("nonsense", ["elsewhere", "tcp://*:99999", "ipc:///tmp/x"])
def test_a_device_that_is_sent_nowhere_says_so(nonsense, port, link):
    with (
        Answers(port, sends_on=nonsense),
        pytest.raises(ProtocolError, match=f"tcp://127.0.0.1:{port} sends this device on: addr"),
    ):
        link().join()


def test_without_keys_a_device_is_not_sent_away_from_its_machine(port, link):
    with (
        Answers(port, sends_on="tcp://192.0.2.1:5555"),
        pytest.raises(SettingsError, match="not a loopback"),
    ):
        link().join()


def test_a_device_that_is_sent_to_a_server_which_is_not_there_says_where(port, other_port, link):
    device = link(connect_timeout_s=0.8)
    with (
        Answers(port, sends_on=f"tcp://*:{other_port}"),
        pytest.raises(LinkError, match=rf":{other_port} \(sent on by tcp://127.0.0.1:{port}\)"),
    ):
        device.join()
