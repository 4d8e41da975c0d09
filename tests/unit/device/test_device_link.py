"""The link against servers that hang up, fall silent, or promise too much."""

import contextlib
import socket
import threading
import time

import pytest
import zmq

from harness.offline import plan
from slfac import __version__
from slfac.device import caller, routes
from slfac.device.caller import Patience
from slfac.device.link import Link
from slfac.device.network import Sockets
from slfac.device.routes import Fixed
from slfac.wire.errors import AuthError, LinkError, ProtocolError, RefusedError, SettingsError
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.messages import Echo, Hello, Probe, Refusal, Reply, Section, Welcome

pytestmark = pytest.mark.device

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 1 + 31)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"


@pytest.fixture
def link(port):
    """Makes a link to the port; it is closed when the test ends."""
    with contextlib.ExitStack() as made:

        def make(
            connect_timeout_s=20.0, reconnect_timeout_s=20.0, enrolled_s=0.0, host="127.0.0.1"
        ):
            lines, alive = [], []
            device = Link(
                Sockets(
                    where=Fixed(f"tcp://{host}:{port}"),
                    keys=None,
                    patience=Patience(connect_timeout_s, reconnect_timeout_s, enrolled_s),
                    on_status=lines.append,
                    on_alive=lambda: alive.append(threading.current_thread()),
                ),
                name="d",
                bundle_id="",
                on_status=lines.append,
            )
            device.lines, device.alive = lines, alive
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
                        while 0 < len(device.recv(4096)) < 40:
                            pass


class Answers:
    """A ROUTER that greets, and answers each request with what it was given."""

    def __init__(
        self, port, *sections, refuse=0, boot="b", software="", welcomes=True, sends_on=""
    ):
        self.hellos = []
        self.requests = []
        self._sections = sections
        self._refuse = refuse
        self._sends_on = sends_on
        self._said = (boot, software)
        self._welcomes = welcomes
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
            answer = self._answer(decode_header(head))
            self._router.send_multipart([identity, encode_header(answer), b""])

    def _answer(self, told):
        if isinstance(told, Probe):
            return Echo(told.session, told.seq, "", time.time_ns())
        if isinstance(told, Hello):
            self.hellos.append(told)
            if len(self.hellos) <= self._refuse:
                return Refusal(told.session, "device 'd' is not part of this run", "restart it")
            if self._sends_on:
                return Refusal(told.session, "elsewhere", "go", self._sends_on)
            boot, software = self._said
            known = told.resume and self._welcomes
            return Welcome(
                told.session, known, boot, "r", "d", 0, 1, "0" * 64, 1 << 20, plan(), software
            )
        self.requests.append(told)
        return Reply(
            told.session, told.seq, told.kind, 0, "train", 0.0, 0.0, 0.0, 0.0, self._sections
        )


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


def test_a_device_says_that_it_is_alive_in_each_wait(port, link):
    device = link()
    with Answers(port):
        device.join()
        greeted = len(device.alive)
        assert greeted > 0
        device.request("join", max_reply_bytes=0)
        assert len(device.alive) > greeted
    # The clock is measured on a thread of its own, which does not speak for this one.
    assert set(device.alive) == {threading.current_thread()}


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


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(caller, "_REFUSED_BACKOFF_S", (0.05,))


@pytest.mark.usefixtures("quickly")
def test_who_is_told_to_wait_asks_again_until_it_is_let_in(port, link):
    device = link(enrolled_s=20.0)
    with Answers(port, refuse=4) as server:
        assert device.join().run == "r"
        assert len(server.hellos) == 5
    said = [line for line in device.lines if "trying again" in line]
    assert len(said) == 1, "not once an attempt"
    assert said[0].startswith("device 'd' is not part of this run; restart it; trying again for")


@pytest.mark.usefixtures("quickly")
def test_waiting_ends_with_what_the_server_said(port, link):
    device = link(enrolled_s=0.5, connect_timeout_s=0.2)
    started_s = time.monotonic()
    with Answers(port, refuse=99), pytest.raises(RefusedError, match="not part of this run"):
        device.join()
    assert time.monotonic() - started_s >= 0.4


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("met", [False, True])
def test_who_is_not_told_to_wait_or_was_in_before_takes_no_for_an_answer(port, link, met):
    device = link(enrolled_s=20.0 if met else 0.0)
    if met:
        with Answers(port):
            device.join()
    with Answers(port, refuse=99) as server:
        with pytest.raises(RefusedError, match="not part of this run"):
            device.request("join", max_reply_bytes=0) if met else device.join()
        assert len(server.hellos) == 1


def test_a_server_that_was_started_again_is_noticed(port, link):
    device = link()
    with Answers(port, boot="one"):
        device.join()
    with Answers(port, boot="one"):
        device.request("join", max_reply_bytes=0)
    assert not any("started again" in line for line in device.lines)
    with Answers(port, boot="two"):
        device.request("join", max_reply_bytes=0)
    assert "the server was started again: it is another process than before" in device.lines


@pytest.mark.parametrize(("software", "said"), [("9.9", 1), ("", 0), (__version__, 0)])
def test_a_server_of_another_release_is_named_once(port, link, software, said):
    device = link()
    for _ in range(2):
        with Answers(port, software=software):
            device.join()
    lines = [line for line in device.lines if "install the same release" in line]
    assert len(lines) == said
    assert all("the server runs slfac '9.9', this device" in line for line in lines)


def test_the_clock_is_told_when_joining_and_once_a_round(port, link):
    device = link()
    with Answers(port) as server:
        device.join()
        device.request("join", max_reply_bytes=0)
        for step in range(3):
            device.request("step", max_reply_bytes=0, step=step)
        device.request("front", max_reply_bytes=0)
        device.settle()
        device.request("front", max_reply_bytes=0)
        told = [(one.kind, len(one.clock)) for one in server.requests]
    assert told == [("join", 1), *[("step", 0)] * 3, ("front", 0), ("front", 1)]
    for one in server.requests:
        for clock in one.clock:
            assert 0 < clock.round_trip_ms < 1000
            assert abs(clock.offset_ms) <= clock.round_trip_ms / 2 + 0.1, "it is one clock"


def test_a_name_of_which_another_place_answers_later(port, link, monkeypatch):
    monkeypatch.setattr(routes, "KNOCK_S", 0.1)
    plain = socket.getaddrinfo

    def look(host, *arguments, **options):
        hosts = ("127.0.0.2", "127.0.0.1") if host == "localhost" else (host,)
        return [info for one in hosts for info in plain(one, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    device = link(host="localhost")
    joined = []
    joining = threading.Thread(target=lambda: joined.append(device.join()))
    joining.start()
    joining.join(0.5)
    with Answers(port):
        joining.join(20)
    assert len(joined) == 1


def test_a_name_that_nothing_answers_at(port, link, monkeypatch):
    monkeypatch.setattr(routes, "KNOCK_S", 0.1)
    monkeypatch.setattr(routes, "look_up", lambda *_: ((2, ("127.0.0.1", port)),) * 2)
    with pytest.raises(LinkError, match=f"no server answered at tcp://localhost:{port} within 1 s"):
        link(host="localhost", connect_timeout_s=1.0).join()


def test_a_device_goes_where_it_is_sent_and_stays_there(port, other_port, link):
    device = link()
    with Answers(port, sends_on=f"tcp://*:{other_port}") as home, Answers(other_port) as other:
        assert device.join().device == "d"
        device.request("join", max_reply_bytes=0)
        assert (len(home.hellos), len(other.hellos)) == (1, 1)


def test_a_device_asks_at_home_again_when_its_server_has_moved(port, other_port, link, monkeypatch):
    monkeypatch.setattr("slfac.device.whereabouts.PATIENCE_S", 0.3)
    device, third = link(), free_port()
    with Answers(port, sends_on=f"tcp://127.0.0.1:{other_port}"), Answers(other_port):
        device.join()
    with Answers(port, sends_on=f"tcp://127.0.0.1:{third}"), Answers(third) as moved:
        device.request("join", max_reply_bytes=0)
        assert len(moved.hellos) == 1
    lost = f"lost the server at tcp://127.0.0.1:{other_port} (sent on by tcp://127.0.0.1:{port}); "
    assert f"{lost}connecting again" in device.lines


def test_servers_that_send_a_device_in_a_circle_are_found_out(port, other_port, link):
    with (
        Answers(port, sends_on=f"tcp://*:{other_port}"),
        Answers(other_port, sends_on=f"tcp://127.0.0.1:{port}"),
        pytest.raises(ProtocolError, match=f"at tcp://127.0.0.1:{port} sends this device on, and"),
    ):
        link().join()


@pytest.mark.parametrize("nonsense", ["elsewhere", "tcp://*:99999", "tcp://*:*", "ipc:///tmp/x"])
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
        pytest.raises(LinkError, match=f"no server answered at tcp://127.0.0.1:{other_port}"),
    ):
        device.join()
