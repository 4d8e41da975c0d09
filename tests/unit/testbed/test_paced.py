"""The paced relay: its rate, its back-pressure, and that it passes everything on."""

import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harness.timing import assert_takes
from slfac.testbed.link import LinkRate, parse_link
from slfac.testbed.paced import PacedRelay
from slfac.wire.errors import SettingsError

WAIT_S = 30


class Peer:
    """A server of one connection at a time."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT_S)
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    def accept(self):
        connection = self._listener.accept()[0]
        connection.settimeout(WAIT_S)
        return connection


def connect(address):
    connection = socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), WAIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_all(connection):
    """Everything until the other end closes, and when its first and last byte came."""
    pieces, times = [], []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
        times.append(time.monotonic())
    return b"".join(pieces), times


def send_all(connection, data):
    """Send, then close that direction."""
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def noise(count):
    return np.random.default_rng(0).bytes(count)


@pytest.mark.parametrize(
    ("text", "up", "down"),
    [
        ("5Mbit", 5e6, 5e6),
        ("1.5Mbit/10Mbit", 1.5e6, 10e6),
        ("64kbit", 64e3, 64e3),
        ("1000bit/100Gbit", 1e3, 1e11),
    ],
)
def test_a_rate_is_read(text, up, down):
    assert parse_link(text) == LinkRate(up, down)


@pytest.mark.parametrize(
    ("text", "delay_s", "loss"),
    [
        ("5Mbit/20ms", 0.02, 0),
        ("5Mbit/5Mbit/1.5s", 1.5, 0),
        ("5Mbit/1%", 0, 0.01),
        ("5Mbit/250ms/0.5%", 0.25, 0.005),
    ],
)
def test_a_delay_and_a_loss_are_read_behind_the_rate(text, delay_s, loss):
    assert parse_link(text) == LinkRate(5e6, 5e6, delay_s, loss)


def test_a_relay_refuses_to_lose_packets():
    with pytest.raises(SettingsError, match="loses no packets"):
        PacedRelay("tcp://127.0.0.1:1", [parse_link("5Mbit/1%")])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20ms",
        "5Mbit/20",
        "5Mbit/11s",
        "5Mbit/51%",
        "5Mbit/1%/20ms",
        "5Mbit/5Mbit/5Mbit",
        "5Mbit/20ms/20ms",
        "5",
        "5 Mbit",
        "5MBit",
        "-5Mbit",
        "nan",
        "999bit",
        "101Gbit",
        "5Mbit/",
        "/5Mbit",
        "1e3bit",
    ],
)
def test_a_rate_that_is_none_is_refused(text):
    with pytest.raises(SettingsError, match="setting link is "):
        parse_link(text)


@pytest.fixture
def pool():
    """Threads that outlive what they do, so that it can be read how long they waited for a core."""
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.mark.parametrize("rate", [2e6, 5e6, 80e6])
def test_both_directions_hold_their_rate_within_two_per_cent(pool, rate):
    up, down = noise(int(rate / 8)), noise(int(rate / 16))

    def both_ways():
        with (
            Peer() as peer,
            PacedRelay(peer.address, [LinkRate(rate, rate / 2)]) as relay,
            connect(relay.addresses[0]) as device,
            peer.accept() as server,
        ):
            start_s = time.monotonic()
            pool.submit(send_all, device, up)
            pool.submit(send_all, server, down)
            reads = [pool.submit(read_all, end) for end in (server, device)]
            (came_up, up_s), (came_down, down_s) = [read.result(WAIT_S) for read in reads]
        assert (came_up, came_down) == (up, down)
        return [up_s[-1] - start_s, down_s[-1] - start_s]

    assert_takes(1.0, both_ways)


def test_a_message_takes_its_time_however_small_the_pause_before_it():
    with (
        Peer() as peer,
        PacedRelay(peer.address, [LinkRate(1e6, 1e6)]) as relay,
        connect(relay.addresses[0]) as device,
        peer.accept() as server,
    ):

        def one_after_the_other():
            took_s = []
            for _ in range(3):
                start_s = time.monotonic()
                device.sendall(bytes(12_500))
                left = 12_500
                while left:
                    left -= len(server.recv(left))
                took_s.append(time.monotonic() - start_s)
                server.sendall(b"!")
                assert device.recv(1) == b"!"
            return took_s

        assert_takes(0.1, one_after_the_other, late=0.3)

        def there_and_back():
            start_s = time.monotonic()
            server.sendall(b"!")
            assert device.recv(1) == b"!"
            return [time.monotonic() - start_s]

        # A byte takes 8 us; what is asserted is that it waits for nothing else.
        assert_takes(8e-6, there_and_back, late=0.05 / 8e-6)


def test_a_delay_comes_on_top_and_takes_nothing_of_the_rate(pool):
    rate, delay_s = 8e6, 0.15
    data = noise(500_000)
    with (
        Peer() as peer,
        PacedRelay(peer.address, [LinkRate(rate, rate, delay_s)]) as relay,
        connect(relay.addresses[0]) as device,
        peer.accept() as server,
    ):

        def there_and_back():
            start_s = time.monotonic()
            device.sendall(b"?")
            assert server.recv(1) == b"?"
            server.sendall(b"!")
            assert device.recv(1) == b"!"
            return [time.monotonic() - start_s]

        def many():
            start_s = time.monotonic()
            pool.submit(device.sendall, data)
            left = len(data)
            while left:
                left -= len(server.recv(left))
            return [time.monotonic() - start_s]

        assert_takes(2 * delay_s, there_and_back, late=0.15)
        assert_takes(0.5 + delay_s, many, late=0.1)


def test_a_sender_soon_waits_when_nobody_takes_the_bytes():
    with (
        Peer() as peer,
        PacedRelay(peer.address, [LinkRate(1e9, 1e9)]) as relay,
        connect(relay.addresses[0]) as device,
        peer.accept(),
    ):
        device.settimeout(0.5)
        with pytest.raises(TimeoutError):
            device.sendall(bytes(64 << 20))


def seconds_of_all(pool, pairs, data):
    """How long it takes to send the same through each of several connections at once."""
    start_s = time.monotonic()
    for device, _ in pairs:
        pool.submit(send_all, device, data)
    for _, server in pairs:
        assert read_all(server)[0] == data
    took_s = time.monotonic() - start_s
    for end in itertools.chain(*pairs):
        end.close()
    return [took_s]


def test_devices_do_not_share_a_link(pool):
    with Peer() as peer, PacedRelay(peer.address, [LinkRate(1e6, 1e6)] * 3) as relay:

        def three_devices():
            pairs = [(connect(address), peer.accept()) for address in relay.addresses]
            return seconds_of_all(pool, pairs, noise(60_000))

        assert_takes(0.48, three_devices, late=0.1)


def test_connections_of_one_device_share_its_link(pool):
    with Peer() as peer, PacedRelay(peer.address, [LinkRate(1e6, 1e6)]) as relay:

        def two_connections():
            pairs = [(connect(relay.addresses[0]), peer.accept()) for _ in range(2)]
            return seconds_of_all(pool, pairs, noise(30_000))

        assert_takes(0.48, two_connections, late=0.1)


def test_one_direction_may_end_before_the_other():
    with (
        Peer() as peer,
        PacedRelay(peer.address, [LinkRate(1e8, 1e8)]) as relay,
        connect(relay.addresses[0]) as device,
        peer.accept() as server,
    ):
        device.sendall(b"question")
        device.shutdown(socket.SHUT_WR)
        assert read_all(server)[0] == b"question"
        server.sendall(b"answer")
        server.shutdown(socket.SHUT_WR)
        assert read_all(device)[0] == b"answer"


def test_a_server_that_is_not_there_closes_the_connection():
    with Peer() as peer:
        address = peer.address
    with PacedRelay(address, [LinkRate(1e8, 1e8)]) as relay, connect(relay.addresses[0]) as device:
        assert device.recv(1) == b""


@pytest.mark.parametrize("breaks", ["device", "server"])
def test_a_broken_end_breaks_the_other(breaks):
    with (
        Peer() as peer,
        PacedRelay(peer.address, [LinkRate(1e8, 1e8)]) as relay,
        connect(relay.addresses[0]) as device,
        peer.accept() as server,
    ):
        ends = {"device": device, "server": server}
        broken = ends.pop(breaks)
        # With nothing to linger for, closing resets the connection.
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        broken.close()
        (other,) = ends.values()
        assert read_all(other)[0] == b""


def test_leaving_ends_connections_in_mid_transfer():
    broken = []

    def flood(connection):
        try:
            connection.sendall(bytes(10**7))
        except OSError as error:
            broken.append(error)

    with Peer() as peer:
        with PacedRelay(peer.address, [LinkRate(1e6, 1e6)]) as relay:
            device, server = connect(relay.addresses[0]), peer.accept()
            thread = threading.Thread(target=flood, args=(device,))
            thread.start()
            assert server.recv(1000)
        thread.join(WAIT_S)
        device.close()
        server.close()
    assert broken
