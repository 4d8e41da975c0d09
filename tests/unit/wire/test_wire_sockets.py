"""Addresses, and sockets that let in only whom they should."""

import contextlib
import socket as tcp
from pathlib import Path

import pytest
import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from harness.network import has_ipv6, link_local
from slfac.wire.errors import AddressError, SettingsError
from slfac.wire.frame import MAX_BODY_BYTES
from slfac.wire.keys import AllowList, DeviceKeys, KeyPair, device_keys, new_keys, server_keys
from slfac.wire.sockets import ZAP_DOMAIN, bind_server, connect_device

pytestmark = pytest.mark.device


HOSTS = ["127.0.0.1", "[::1]"] if has_ipv6() else ["127.0.0.1"]
REACHABLE = [
    "tcp://0.0.0.0:1",
    "tcp://*:1",
    "tcp://[::]:1",
    "tcp://[::ffff:10.0.0.5]:1",
    "tcp://10.0.0.5:1",
    "tcp://board:1",
]


@pytest.fixture
def context():
    with zmq.Context() as context:
        yield context


@pytest.fixture
def folders(tmp_path: Path):
    """Key folders of a server, an enrolled device and a stranger."""
    server = new_keys(tmp_path / "server", "server")
    names = ("friend", "stranger")
    certificates = [new_keys(tmp_path / name, "device", server) for name in names]
    AllowList(server.parent).enroll("friend", certificates[0])
    return tmp_path


class Provider:
    """An allow-list as pyzmq's authenticator asks it."""

    def __init__(self, folder):
        self._allowed = AllowList(folder)

    def callback(self, domain, key):
        assert domain == ZAP_DOMAIN.decode()
        return self._allowed.name_of(key.decode()) is not None


@pytest.fixture
def gated(context, folders):
    """A server's socket behind its allow-list."""
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    provider = Provider(folders / "server")
    authenticator.configure_curve_callback(ZAP_DOMAIN.decode(), provider)
    with bind_server(context, "tcp://127.0.0.1:*", server_keys(folders / "server")) as router:
        yield router
    authenticator.stop()


@contextlib.contextmanager
def dealing(context, address, keys):
    """A device's socket, closed with its monitor."""
    with connect_device(context, address, keys) as dealer, dealer.get_monitor_socket():
        yield dealer
        dealer.disable_monitor()


def handshake(context, address, keys, limit_ms=5000):
    """Connect; the first event that says how the handshake ended, or None."""
    outcomes = {
        zmq.Event.HANDSHAKE_SUCCEEDED,
        zmq.Event.HANDSHAKE_FAILED_AUTH,
        zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
        zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
        zmq.Event.DISCONNECTED,
    }
    with dealing(context, address, keys) as dealer:
        monitor = dealer.get_monitor_socket()
        outcome = None
        while outcome is None and monitor.poll(limit_ms):
            event = zmq.Event(recv_monitor_message(monitor)["event"])
            outcome = event if event in outcomes else None
        return outcome


def address_of(router):
    return router.get_string(zmq.LAST_ENDPOINT)


@pytest.mark.parametrize("address", REACHABLE)
def test_without_keys_nothing_but_loopback_is_allowed(address, context):
    for attempt in (
        lambda: bind_server(context, address, None),
        lambda: connect_device(context, address, None),
    ):
        with pytest.raises(SettingsError, match=r"insecure is set, but .*; make keys with"):
            attempt()


@pytest.mark.parametrize("host", HOSTS)
def test_two_frames_go_both_ways(context, host):
    with (
        bind_server(context, f"tcp://{host}:*", None) as router,
        dealing(context, address_of(router), None) as dealer,
    ):
        dealer.send_multipart([b"head", bytes(MAX_BODY_BYTES)])
        identity, head, body = router.recv_multipart()
        assert (head, len(body)) == (b"head", MAX_BODY_BYTES)
        router.send_multipart([identity, b"back", b""])
        assert dealer.recv_multipart() == [b"back", b""]


@pytest.mark.parametrize("host", HOSTS)
def test_a_bound_address_reads_as_it_was_written(context, host):
    with bind_server(context, f"tcp://{host}:*", None) as router:
        assert address_of(router).startswith(f"tcp://{host}:")


@contextlib.contextmanager
def gate_for_all(context):
    """A server's keys, and an authenticator that lets everyone in."""
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve(domain="*", location=zmq.auth.CURVE_ALLOW_ANY)
    yield KeyPair(*zmq.curve_keypair())
    authenticator.stop()


def test_a_peer_that_is_not_there_is_an_error_and_no_silence(context):
    with bind_server(context, "tcp://127.0.0.1:*", None) as router:
        with pytest.raises(zmq.ZMQError) as caught:
            router.send_multipart([b"nobody", b"head", b""], zmq.NOBLOCK)
        assert caught.value.errno == zmq.EHOSTUNREACH


def test_a_taken_port_is_named(context):
    with (
        bind_server(context, "tcp://127.0.0.1:*", None) as first,
        pytest.raises(AddressError, match="is taken by another process; choose another port"),
    ):
        bind_server(context, address_of(first), None)
    with tcp.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressError, match=f"{address} is taken"):
            bind_server(context, address, None)


def test_an_address_of_another_machine_is_named(context):
    keys = KeyPair(*zmq.curve_keypair())
    with pytest.raises(AddressError, match=r"is not an address of this machine; use tcp://0\.0"):
        bind_server(context, "tcp://192.0.2.1:5555", keys)


def test_an_interface_that_is_not_there_is_named(context):
    keys = KeyPair(*zmq.curve_keypair())
    with pytest.raises(AddressError, match=r"\[fe80::1%nowhere0\]:5555 is not an address of this"):
        bind_server(context, "tcp://[fe80::1%nowhere0]:5555", keys)


def test_an_address_that_cannot_be_connected_to_is_named(context):
    keys = DeviceKeys(KeyPair(*zmq.curve_keypair()), zmq.curve_keypair()[0])
    with pytest.raises(AddressError, match=r"cannot connect to tcp://-:5555"):
        connect_device(context, "tcp://-:5555", keys)


@pytest.mark.parametrize("host", [*HOSTS, *link_local()])
@pytest.mark.parametrize("everywhere", ["*", "[::]"] if has_ipv6() else ["*"])
def test_a_server_for_both_families_is_reached_over_each(context, everywhere, host):
    with gate_for_all(context) as keys, bind_server(context, f"tcp://{everywhere}:*", keys) as one:
        port = address_of(one).rpartition(":")[2]
        device = DeviceKeys(KeyPair(*zmq.curve_keypair()), keys.public)
        outcome = handshake(context, f"tcp://{host}:{port}", device)
        assert outcome == zmq.Event.HANDSHAKE_SUCCEEDED


@pytest.mark.parametrize("host", link_local())
def test_a_server_on_one_link_is_reached_there(context, host):
    with gate_for_all(context) as keys, bind_server(context, f"tcp://{host}:*", keys) as one:
        assert address_of(one).startswith(f"tcp://{host}:")
        device = DeviceKeys(KeyPair(*zmq.curve_keypair()), keys.public)
        assert handshake(context, address_of(one), device) == zmq.Event.HANDSHAKE_SUCCEEDED


def test_an_address_that_is_no_servers_is_not_connected_to(context):
    keys = DeviceKeys(KeyPair(*zmq.curve_keypair()), zmq.curve_keypair()[0])
    with pytest.raises(AddressError, match=r"'tcp://\*:5555' is no server's"):
        connect_device(context, "tcp://*:5555", keys)


def test_an_enrolled_device_passes_and_its_key_comes_with_each_message(context, folders, gated):
    keys = device_keys(folders / "friend")
    with dealing(context, address_of(gated), keys) as dealer:
        dealer.send_multipart([b"head", b"body"])
        _, head, body = gated.recv_multipart(copy=False)
        assert head.get("User-Id") == body.get("User-Id") == keys.own.public.decode()


def test_a_stranger_is_refused_and_told_so(context, folders, gated):
    keys = device_keys(folders / "stranger")
    assert handshake(context, address_of(gated), keys) == zmq.Event.HANDSHAKE_FAILED_AUTH


def test_a_stranger_passes_once_enrolled_and_not_once_revoked(context, folders, gated):
    keys = device_keys(folders / "stranger")
    allowed = AllowList(folders / "server")
    allowed.enroll("late", folders / "stranger" / "device.key")
    assert handshake(context, address_of(gated), keys) == zmq.Event.HANDSHAKE_SUCCEEDED
    allowed.revoke("late")
    assert handshake(context, address_of(gated), keys) == zmq.Event.HANDSHAKE_FAILED_AUTH


def test_a_wrong_server_key_never_connects(context, folders, gated):
    own = device_keys(folders / "friend").own
    wrong = DeviceKeys(own, zmq.curve_keypair()[0])
    outcome = handshake(context, address_of(gated), wrong)
    assert outcome not in (None, zmq.Event.HANDSHAKE_SUCCEEDED)


def test_a_device_without_keys_does_not_get_past_a_server_with_keys(context, gated):
    outcome = handshake(context, address_of(gated), None)
    assert outcome not in (None, zmq.Event.HANDSHAKE_SUCCEEDED)


def test_without_an_authenticator_nobody_is_ever_let_in(context, folders):
    keys = device_keys(folders / "friend")
    with bind_server(context, "tcp://127.0.0.1:*", server_keys(folders / "server")) as router:
        outcomes = {handshake(context, address_of(router), keys) for _ in range(20)}
        assert zmq.Event.HANDSHAKE_SUCCEEDED not in outcomes
        assert None not in outcomes
        assert router.poll(0) == 0


def test_after_the_authenticator_stopped_nobody_is_let_in(context, folders):
    keys = device_keys(folders / "friend")
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    provider = Provider(folders / "server")
    authenticator.configure_curve_callback(ZAP_DOMAIN.decode(), provider)
    with bind_server(context, "tcp://127.0.0.1:*", server_keys(folders / "server")) as router:
        assert handshake(context, address_of(router), keys) == zmq.Event.HANDSHAKE_SUCCEEDED
        authenticator.stop()
        outcomes = {handshake(context, address_of(router), keys) for _ in range(5)}
        assert zmq.Event.HANDSHAKE_SUCCEEDED not in outcomes


def test_an_oversize_frame_drops_the_connection_and_is_never_delivered(context):
    with (
        bind_server(context, "tcp://127.0.0.1:*", None) as router,
        dealing(context, address_of(router), None) as dealer,
    ):
        dealer.send_multipart([b"head", bytes(MAX_BODY_BYTES + 257)])
        monitor = dealer.get_monitor_socket()
        events = iter(lambda: zmq.Event(recv_monitor_message(monitor)["event"]), None)
        assert zmq.Event.DISCONNECTED in events
        assert router.poll(0) == 0
