"""Counted bytes against bytes seen on a real TCP connection."""

import socket
import threading

import pytest
import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from slfac.wire.keys import DeviceKeys, KeyPair
from slfac.wire.meter import Meter, Traffic, wire_bytes
from slfac.wire.sockets import bind_server, connect_device

pytestmark = pytest.mark.device


def pump(source, target, seen):
    while data := source.recv(1 << 16):
        seen.append(len(data))
        target.sendall(data)


class Tap:
    """Relays one TCP connection and counts both ways."""

    def __init__(self, port):
        self.up, self.down = [], []
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()

    def _run(self):
        with (
            self._listener,
            self._listener.accept()[0] as device,
            socket.create_connection(("127.0.0.1", self._port)) as server,
        ):
            back = threading.Thread(target=self._back, args=(server, device))
            back.start()
            pump(device, server, self.up)
            server.shutdown(socket.SHUT_WR)
            back.join()

    def _back(self, server, device):
        try:
            pump(server, device, self.down)
        except OSError:  # the device is gone already
            return

    def totals(self):
        self._threads[0].join()
        return sum(self.up), sum(self.down)


def converse(messages, *, curve):
    """Send messages up and one down through a tap; bytes that it saw, and our own count."""
    context = zmq.Context()
    keys = [KeyPair(*zmq.curve_keypair()) for _ in range(2)] if curve else [None, None]
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve(domain="*", location=zmq.auth.CURVE_ALLOW_ANY)
    router = bind_server(context, "tcp://127.0.0.1:*", keys[0])
    tap = Tap(int(router.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2]))
    own = DeviceKeys(keys[1], keys[0].public) if curve else None
    dealer = connect_device(context, f"tcp://127.0.0.1:{tap.port}", own)
    traffic = Traffic(connections=1, curve=curve)
    for head, body in messages:
        dealer.send_multipart([head, body])
        traffic.up.add(len(head), len(body), curve=curve)
        identity, *_ = router.recv_multipart()
    router.send_multipart([identity, b"head", b"body"])
    traffic.down.add(4, 4, curve=curve)
    dealer.recv_multipart()
    dealer.get_monitor_socket().close()
    dealer.close()
    seen = tap.totals()
    router.close()
    authenticator.stop()
    context.term()
    return seen, traffic


@pytest.mark.parametrize("curve", [True, False])
def test_the_count_is_what_crosses_the_network(curve, monkeypatch):
    monkeypatch.setattr("slfac.wire.sockets.HEARTBEAT_MS", 0)  # no beat falls into the count
    edges = [0, 1, 221, 222, 223, 255, 256, 4096]
    messages = [(bytes(size), bytes(65536 - size)) for size in edges]
    messages += [(bytes(9), b""), (bytes(100), bytes(200))]
    seen, traffic = converse(messages, curve=curve)
    assert seen == traffic.wire_bytes(heartbeat_s=2.0)


@pytest.mark.parametrize(
    ("frame", "curve", "wire"),
    [
        (0, True, 35),
        (222, True, 257),
        (223, True, 265),
        (65536, True, 65578),
        (0, False, 2),
        (255, False, 257),
        (256, False, 265),
    ],
)
def test_a_frame_takes_its_framing(frame, curve, wire):
    assert wire_bytes(frame, curve=curve) == wire


def test_a_meter_adds_up():
    meter = Meter()
    meter.add(100, 65536)
    meter.add(10, 0)
    assert (meter.messages, meter.bytes) == (2, 65646)
    # A short header and a body below 223 bytes cost 70 together, a long body 77.
    assert meter.wire_bytes == 65646 + 77 + 70


def test_beats_and_handshakes_are_added_by_time_and_count():
    traffic = Traffic(connections=2, connected_s=7.9)
    beats = 3 * (42 + 40)
    assert traffic.wire_bytes(heartbeat_s=2.0) == (2 * 567 + beats, 2 * 301 + beats)


def test_without_keys_both_handshakes_are_alike():
    traffic = Traffic(connections=1, connected_s=2.0, curve=False)
    assert traffic.wire_bytes(heartbeat_s=2.0) == (107 + 16, 107 + 16)
