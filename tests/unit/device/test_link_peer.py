"""A link is measured against a peer over real sockets, and nobody crashes it or hangs it."""

import contextlib
import random
import threading

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from harness.mutants import damage
from slfac import __version__
from slfac.device.profiling.link import Peer, PeerLink, measure_link, route_to
from slfac.device.profiling.link import messages as m
from slfac.wire.errors import (
    AddressError,
    AuthError,
    KeyFileError,
    LinkError,
    ProtocolError,
    RefusedError,
    SettingsError,
)
from slfac.wire.frame import encode_header
from slfac.wire.keys import AllowList, DeviceKeys, device_keys, new_keys
from slfac.wire.messages import Ping
from slfac.wire.meter import packets, wire_bytes
from slfac.wire.sockets import bind_server, connect_device

pytestmark = pytest.mark.device
ANYWHERE = "tcp://127.0.0.1:*"


class Running:
    """A peer that serves in a thread.

    Attributes:
        lines: What it said.
        address: Where it listens.
    """

    def __init__(self, keys=None):
        self.lines = []
        self._told = threading.Condition()
        self.peer = Peer(ANYWHERE, keys, self._say)
        self.address = self.peer.address
        self._ended = threading.Event()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        self.peer.serve(lambda: not self._ended.is_set())

    def _say(self, line):
        with self._told:
            self.lines.append(line)
            self._told.notify_all()

    def said(self, text):
        """Wait until it has said a line with a text in it; that line."""
        with self._told:
            assert self._told.wait_for(lambda: any(text in line for line in self.lines), 20)
            return next(line for line in self.lines if text in line)

    def close(self):
        """End it."""
        self._ended.set()
        self.thread.join()
        self.peer.close()


@pytest.fixture
def running():
    """Makes peers that are ended afterwards."""
    with contextlib.ExitStack() as stack:

        def make(keys=None):
            made = Running(keys)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def folders(tmp_path):
    """Key folders of a peer, an enrolled device and a stranger."""
    server = new_keys(tmp_path / "peer", "server")
    for name in ("pi-4", "stranger"):
        new_keys(tmp_path / name, "device", server)
    AllowList(tmp_path / "peer").enroll("pi-4", tmp_path / "pi-4" / "device.key")
    return tmp_path


@contextlib.contextmanager
def dealing(address, keys=None):
    """A socket that says what it likes."""
    with (
        zmq.Context() as context,
        connect_device(context, address, keys) as dealer,
        dealer.get_monitor_socket(),
    ):
        dealer.rcvtimeo = 10_000
        yield dealer
        dealer.disable_monitor()


def answer(dealer):
    """The next message of the peer."""
    head, body = dealer.recv_multipart()
    return m.decode_said(head), len(body)


def size_on_tcp(message, body_bytes, *, curve=False):
    return wire_bytes(len(m.encode(message)), curve=curve) + wire_bytes(body_bytes, curve=curve)


def test_a_link_is_measured_with_intervals(running, folders):
    peer = running(folders / "peer")
    keys = device_keys(folders / "pi-4")
    said = []
    found = measure_link(
        peer.address, keys, repetition_s=0.01, sizes=(65536, 100), on_status=said.append
    )
    assert [size.body_bytes for size in found.sizes] == [100, 65536]
    assert found.up_mbits == found.sizes[1].up_mbits
    assert found.down_mbits == found.sizes[1].down_mbits
    for figure in (found.up_mbits, found.down_mbits, found.rtt_ms):
        assert 0 <= figure.low < figure.value < figure.high
        assert figure.runs == found.repetitions == 5
    assert said == [f"repetition {n} of 5" for n in range(1, 6)]
    for size in found.sizes:
        for counts in (size.sent, size.received):
            assert counts.bytes > counts.messages > 0
            assert counts.messages <= counts.frames <= counts.messages + counts.bytes / 1448
    assert found.route.is_local
    assert (found.address, found.software) == (peer.address, __version__)
    line = peer.said("pi-4 left")
    assert "MB in" in line


@pytest.mark.parametrize("gap_s", [0.0, 0.001])
def test_a_stream_up_is_counted_to_the_byte(running, gap_s):
    peer = running()
    with PeerLink(peer.address, None) as link:
        moved = link.stream("up", 3000, 0.02, gap_s=gap_s)
        with dealing(peer.address) as other:
            other.send_multipart([m.encode(m.Put(1, True)), b"x" * 7])
            taken, _ = answer(other)
            assert (taken.messages, taken.bytes) == (1, 7)
    count = moved.sent.messages
    assert moved.sent.frames == 3 * count
    body = count * (3000 + 9)
    assert body < moved.sent.bytes < body + 20 * count
    assert moved.begin_s < moved.end_s
    assert (moved.body_bytes_s is None) == bool(gap_s)
    line = peer.said("left")
    assert f"took {count * 3000 / 1e6:.2f} MB in {count} messages, gave 0.00 MB in 0" in line


def test_a_paced_stream_down_is_what_was_asked_for(running):
    peer = running()
    with PeerLink(peer.address, None) as link:
        moved = link.stream("down", 64, 0.1, gap_s=0.002)
    assert moved.received.messages == moved.received.frames == 50
    assert moved.sent.messages == 1
    assert moved.sent.bytes == size_on_tcp(m.Get(1, 50, 64, 2000), 0)
    assert moved.end_s - moved.begin_s >= 49 * 0.002


def test_messages_are_counted_as_packets():
    assert [packets(n) for n in (1, 1448, 1449, 65536 + 100)] == [1, 1, 2, 46]


@pytest.mark.parametrize(
    ("body_bytes", "gap_s"), [(65537, 0.0), (-1, 0.0), (10, 1.5), (10, -0.1), (10, float("nan"))]
)
def test_streams_that_cannot_be_are_refused(running, body_bytes, gap_s):
    peer = running()
    with (
        PeerLink(peer.address, None) as link,
        pytest.raises(SettingsError, match="cannot be measured"),
    ):
        link.stream("up", body_bytes, 0.01, gap_s=gap_s)


@pytest.mark.parametrize(
    "settings",
    [
        *({"repetitions": n} for n in (0, 4, 1001)),
        *({"repetition_s": s} for s in (0.0, -1.0, float("nan"), 61.0)),
        *({"sizes": sizes} for sizes in ((), (0,), (65537,))),
    ],
)
def test_settings_out_of_range_are_named(settings):
    (name,) = settings
    with pytest.raises(SettingsError, match=name):
        measure_link("tcp://127.0.0.1:1", None, **settings)


def test_a_stranger_is_refused_by_its_key(running, folders):
    peer = running(folders / "peer")
    with pytest.raises(AuthError, match=r"refused this device's key .*slfac keys enroll"):
        PeerLink(peer.address, device_keys(folders / "stranger"))


def test_another_servers_key_is_named(running, folders):
    peer = running(folders / "peer")
    keys = device_keys(folders / "pi-4")
    wrong = DeviceKeys(keys.own, device_keys(folders / "stranger").own.public)
    with pytest.raises(AuthError, match=r"its key is not the one in server\.key"):
        PeerLink(peer.address, wrong, timeout_s=5)


def test_a_device_that_is_revoked_is_refused_at_its_next_message(running, folders):
    peer = running(folders / "peer")
    with PeerLink(peer.address, device_keys(folders / "pi-4")) as link:
        assert link.ping() > 0
        AllowList(folders / "peer").revoke("pi-4")
        with pytest.raises(RefusedError, match=r"not enrolled, or was revoked; on the peer"):
            link.ping()
    assert "pi-4 was refused" in peer.said("was refused")


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("10.0.0.5:5566", AddressError, "malformed"),
        ("tcp://127.0.0.1:0", AddressError, "no server's"),
        ("tcp://10.0.0.5:5566", SettingsError, "insecure is set"),
    ],
)
def test_addresses_that_cannot_be_a_peers_are_refused(address, error, said):
    with pytest.raises(error, match=said):
        PeerLink(address, None)


def test_nobody_there_is_said():
    with zmq.Context() as context, bind_server(context, ANYWHERE, None) as router:
        address = router.get_string(zmq.LAST_ENDPOINT)
    with pytest.raises(LinkError, match=r"no server answered at tcp://127.0.0.1:\d+ within"):
        PeerLink(address, None, timeout_s=0.3)


def test_a_peer_without_keys_listens_on_loopback_only(tmp_path):
    with pytest.raises(SettingsError, match="insecure is set"):
        Peer("tcp://0.0.0.0:5566", None, print)
    with pytest.raises(KeyFileError, match="missing"):
        Peer(ANYWHERE, tmp_path, print)


def test_a_taken_port_is_said(running):
    peer = running()
    with pytest.raises(AddressError, match="taken by another process"):
        Peer(peer.address, None, print)


def test_a_training_server_is_told_from_a_peer():
    with zmq.Context() as context, bind_server(context, ANYWHERE, None) as router:
        address = router.get_string(zmq.LAST_ENDPOINT)

        def reply():
            identity, *_ = router.recv_multipart()
            router.send_multipart([identity, encode_header(Ping(0)), b""])

        thread = threading.Thread(target=reply)
        thread.start()
        with (
            PeerLink(address, None) as link,
            pytest.raises(ProtocolError, match=r"trains, and measures no links; .*profile peer"),
        ):
            link.ping()
        thread.join()


def test_a_device_that_trains_is_told_from_one_that_measures(running):
    peer = running()
    with dealing(peer.address) as dealer:
        dealer.send_multipart([encode_header(Ping(1)), b""])
        refused, _ = answer(dealer)
    assert "trains" in refused.reason
    assert "slfac server" in refused.remedy


def hostile(rng):
    """Messages that are wrong, of every kind."""
    sound = [m.encode(m.Put(1, True)), m.encode(m.Get(2, 3, 70, 10)), m.encode(m.Leave())]
    arrays = [b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff"]
    yield [b""]
    yield [b"", b"", b""]
    yield [b"x"] * 9
    yield [b"SL", b""]
    yield [b"SL\x02" + sound[0][3:], b""]
    yield [rng.randbytes(2000), b""]
    yield [b"SL\x01" + b"\x91" * 900, b""]
    yield [m.encode(m.Get(1, 1, 0, 0)).replace(b"\x95", b"\x99"), b""]
    for bomb in arrays:
        yield [b"SL\x01" + bomb, b""]
        yield [sound[1][:-1] + bomb, b""]
    for message in (m.Taken(1, 1, 1, "x"), m.Given(1, 1), m.Refused("", "")):
        yield [m.encode(message), b""]
    for count, size, gap in (
        (0, 1, 0),
        (65537, 1, 0),
        (1, 65537, 0),
        (1, 1, 1_000_001),
        (-1, 1, 0),
    ):
        yield [m.encode(m.Get(1, count, size, gap)), b""]
    yield [m.encode(m.Put(-1, True)), b""]
    yield [m.encode(m.Put(2**64 - 1, True)), b""]
    for _ in range(60):
        mutant = damage(bytearray(rng.choice(sound)), rng, sound)
        yield [bytes(mutant), rng.randbytes(rng.randrange(40))]


def test_hostile_messages_do_not_disturb_others(running):
    peer = running()
    rng = random.Random(7)
    with PeerLink(peer.address, None) as link:
        for frames in hostile(rng):
            with dealing(peer.address) as dealer:
                dealer.send_multipart(frames)
                dealer.send_multipart([b"SL\x01\x00", b""])  # refused, whatever was before
                while not isinstance(answer(dealer)[0], m.Refused):
                    pass
            assert link.ping() < 10
    refusals = [line for line in peer.lines if line.startswith("refused ")]
    # The first, second, fourth, eighth, ...: nobody fills a disk.
    assert 5 <= len(refusals) <= 8
    assert peer.thread.is_alive()


@pytest.mark.parametrize("message", [m.Get(1, 65536, 65536, 0), m.Put(1, True)])
def test_who_asks_for_more_than_may_wait_is_refused(running, message):
    peer = running()
    with dealing(peer.address) as dealer:
        # Nothing is read, so that nothing more can be sent.
        for _ in range(40):
            dealer.send_multipart([m.encode(m.Get(1, 65536, 65536, 0)), b""])
        line = peer.said("refused")
        assert "more than 32 Gets wait" in line
        dealer.send_multipart([m.encode(message), b""])
    with PeerLink(peer.address, None) as link:
        assert link.ping() < 10


def test_a_client_that_reads_nothing_costs_little(running):
    peer = running()
    with dealing(peer.address) as greedy:
        greedy.rcvhwm = 1
        greedy.send_multipart([m.encode(m.Get(1, 65536, 65536, 0)), b""])
        with PeerLink(peer.address, None) as link:
            moved = link.stream("down", 65536, 0.01)
        assert moved.received.messages >= 4
    line = peer.said("hung up")
    gave = float(line.split("gave ")[1].split()[0])
    # A megabyte in the socket, and what the kernel and the other end hold.
    assert gave < 200


def test_one_key_may_not_take_all_connections(running):
    peer = running()
    with contextlib.ExitStack() as stack:
        dealers = [stack.enter_context(dealing(peer.address)) for _ in range(9)]
        for number, dealer in enumerate(dealers):
            dealer.send_multipart([m.encode(m.Put(1, True)), b""])
            said, _ = answer(dealer)
            assert isinstance(said, m.Refused if number == 8 else m.Taken)
    assert "has 8 connections already" in said.reason


def test_the_peer_says_who_was_still_there_when_it_ended():
    peer = Running()
    with PeerLink(peer.address, None) as link:
        link.ping()
        peer.close()
        with pytest.raises(LinkError, match="broke"):
            link.ping()
    (line,) = peer.lines
    assert line.startswith("a device without a key was cut off after ")


def test_a_peer_that_answers_nonsense_is_an_error():
    cases = [
        ([b"SL\x01\x93\x04", b""], "malformed"),
        ([m.encode(m.Given(1, 0)), b""], "said Given, not Taken"),
        ([m.encode(m.Taken(9, 1, 1, "x")), b""], "answered message 9, not 1"),
        ([m.encode(m.Put(1, True)), b""], "malformed"),
        ([b"XX\x01", b""], "no peer of slfac"),
        ([b"SL\x07\x90", b""], "measures by version 7"),
        ([b"S" * 1025, b""], "exceeds 1024"),
        ([b"one"], "1 frames"),
    ]
    for frames, said in cases:
        with zmq.Context() as context, bind_server(context, ANYWHERE, None) as router:
            address = router.get_string(zmq.LAST_ENDPOINT)

            def reply(router=router, frames=frames):
                identity, *_ = router.recv_multipart()
                router.send_multipart([identity, *frames])

            thread = threading.Thread(target=reply)
            thread.start()
            with PeerLink(address, None) as link, pytest.raises(ProtocolError, match=said):
                link.ping()
            thread.join()


def test_each_end_reads_only_what_the_other_says():
    asked = [m.Put(5, False), m.Get(2**63 - 1, 65536, 65536, 1_000_000), m.Leave()]
    said = [m.Taken(1, 2, 3, "0.1"), m.Given(5, 0), m.Refused("no", "")]
    for message in asked:
        assert m.decode_asked(m.encode(message)) == message
        with pytest.raises(ProtocolError, match="malformed"):
            m.decode_said(m.encode(message))
    for message in said:
        assert m.decode_said(m.encode(message)) == message
        with pytest.raises(ProtocolError, match="malformed"):
            m.decode_asked(m.encode(message))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_message_or_an_error(data, prefixed):
    frame = b"SL\x01" + data if prefixed else data
    for decode in (m.decode_asked, m.decode_said):
        with contextlib.suppress(ProtocolError):
            assert m.encode(decode(frame))[:3] == b"SL\x01"


def test_the_route_tells_this_machine_from_others(tmp_path):
    assert route_to("tcp://127.0.0.1:1").is_local
    assert route_to("tcp://localhost:1").is_local
    assert route_to("tcp://127.0.0.1:1").interface == "lo"
    (tmp_path / "sys/class/net/lo/wireless").mkdir(parents=True)
    assert route_to("tcp://127.0.0.1:1", tmp_path).is_wireless
    elsewhere = route_to("tcp://192.0.2.1:1")
    assert not elsewhere.is_local
    assert not elsewhere.is_wireless
