"""Sockets with the options that keep them safe and alive.

Each option answers a failure seen in practice: MANDATORY reports a peer that is gone
instead of dropping silently; ZAP_ENFORCE_DOMAIN refuses everyone when no authenticator
runs; heartbeats find a link cut without a FIN; MAXMSGSIZE bounds a frame; LINGER 0 lets a
process end. Spinning up a fresh socket is the only way back after a refused handshake.
"""

from __future__ import annotations

import errno
from typing import Final

import zmq

from slfac.wire.addresses import check_address, check_server_address, is_number, split_address
from slfac.wire.errors import AddressError
from slfac.wire.frame import MAX_BODY_BYTES
from slfac.wire.keys import DeviceKeys, KeyPair

ZAP_DOMAIN: Final = b"slfac"
HEARTBEAT_MS: Final = 2_000
HEARTBEAT_TIMEOUT_MS: Final = 10_000
RECEIVE_QUEUE: Final = 64


def bind_server(
    context: zmq.Context[zmq.Socket[bytes]],
    address: str,
    keys: KeyPair | None,
    *,
    send_queue: int | None = None,
) -> zmq.Socket[bytes]:
    """Bind the server's ROUTER.

    Args:
        context: The process's context.
        address: ``tcp://HOST:PORT``; ``*`` for any free port.
        keys: The server's keys; None only for loopback.
        send_queue: Messages to one device that may wait in the socket; None for libzmq's own.

    Returns:
        The socket; ``LAST_ENDPOINT`` tells its port.

    Raises:
        AddressError: The address is malformed, taken, or not this machine's.
    """
    check_address(address, insecure=keys is None)
    socket = context.socket(zmq.ROUTER)
    _common(socket, address)
    socket.router_mandatory = True
    # A device has a window of payload under way: more of it waits in its own memory.
    socket.rcvhwm = RECEIVE_QUEUE
    if send_queue is not None:
        socket.sndhwm = send_queue
    if keys is not None:
        socket.curve_server = True
        socket.curve_publickey = keys.public
        socket.curve_secretkey = keys.secret
        socket.zap_domain = ZAP_DOMAIN
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close()
        raise _bind_error(address, error) from error
    return socket


def connect_device(
    context: zmq.Context[zmq.Socket[bytes]], address: str, keys: DeviceKeys | None
) -> zmq.Socket[bytes]:
    """Open a device's DEALER and start connecting.

    Args:
        context: The process's context.
        address: The server's ``tcp://HOST:PORT``.
        keys: The device's keys; None only for loopback.

    Returns:
        The socket. Its monitor, which tells how the handshake goes, is attached already:
        ``get_monitor_socket()`` gives it, and the caller closes both.

    Raises:
        AddressError: The address is malformed, or is no one machine's.
    """
    check_server_address(address, insecure=keys is None)
    socket = context.socket(zmq.DEALER)
    _common(socket, address)
    # Queue nothing before the handshake: a message belongs to one connection.
    socket.immediate = True
    socket.reconnect_ivl = 200
    socket.reconnect_ivl_max = 2_000
    if keys is not None:
        socket.curve_publickey = keys.own.public
        socket.curve_secretkey = keys.own.secret
        socket.curve_serverkey = keys.server
    # A handshake may fail for good at once, and libzmq tells that only once.
    monitor = socket.get_monitor_socket()
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        monitor.close()
        socket.close()
        raise AddressError(f"cannot connect to {address}: {error.strerror}") from error
    return socket


def _common(socket: zmq.Socket[bytes], address: str) -> None:
    socket.linger = 0
    # With it an IPv4 address is bound as [::ffff:...], which people would have to copy; `*` and
    # `[::]` take in both kinds, where the system has them.
    host = split_address(address)[0]
    socket.ipv6 = ":" in host or not is_number(host)
    # CURVE adds to a frame before its size is checked.
    socket.maxmsgsize = MAX_BODY_BYTES + 256
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    socket.heartbeat_ttl = HEARTBEAT_TIMEOUT_MS
    socket.handshake_ivl = 10_000


def _bind_error(address: str, error: zmq.ZMQError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(
            f"{address} is taken by another process", "choose another port, or stop that process"
        )
    # EINVAL is what libzmq says of an interface that is not there.
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV, errno.EINVAL):
        return AddressError(
            f"{address} is not an address of this machine",
            "use tcp://0.0.0.0:PORT for all of them, tcp://*:PORT for those of IPv6 as well",
        )
    if error.errno == errno.EACCES:
        return AddressError(f"no permission to bind {address}", "use a port above 1023")
    return AddressError(f"cannot bind {address}: {error.strerror}")
