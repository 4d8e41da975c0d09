"""Sockets with the options that keep them safe and alive, and their addresses.

Each option answers a failure seen in practice: MANDATORY reports a peer that is gone
instead of dropping silently; ZAP_ENFORCE_DOMAIN refuses everyone when no authenticator
runs; heartbeats find a link cut without a FIN; MAXMSGSIZE bounds a frame; LINGER 0 lets a
process end. Spinning up a fresh socket is the only way back after a refused handshake.
"""

from __future__ import annotations

import errno
import ipaddress
import re
from typing import Final

import zmq

from slfac.wire.errors import AddressError, ProtocolError, SettingsError
from slfac.wire.frame import MAX_BODY_BYTES
from slfac.wire.keys import DeviceKeys, KeyPair

ZAP_DOMAIN: Final = b"slfac"
HEARTBEAT_MS: Final = 2_000
HEARTBEAT_TIMEOUT_MS: Final = 10_000
_ADDRESS = re.compile(r"tcp://(\[[0-9a-fA-F:.%\w]+\]|[A-Za-z0-9.*_-]+):(\d{1,5}|\*)")

_IPV4 = re.compile(r"tcp://[\d.]+:")


def check_address(address: str, *, insecure: bool = False) -> str:
    """Check a ZeroMQ address.

    Args:
        address: ``tcp://HOST:PORT``, IPv6 in brackets.
        insecure: Whether it will be used without CURVE; only loopback may.

    Returns:
        The address.

    Raises:
        AddressError: It is malformed.
        SettingsError: It is not loopback but ``insecure``.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or (match[2] != "*" and int(match[2]) > 65535):
        raise AddressError(
            f"address {address!r} is malformed",
            "write tcp://HOST:PORT, such as tcp://10.0.0.5:5555",
        )
    if insecure and not _is_loopback(match[1].strip("[]")):
        raise SettingsError(
            f"insecure is set, but {address} is not a loopback address",
            "make keys with `slfac keys new`, or use tcp://127.0.0.1:PORT",
        )
    return address


def split_address(address: str) -> tuple[str, str]:
    """Host and port of an address.

    Args:
        address: ``tcp://HOST:PORT``, as :func:`check_address` passes it.

    Returns:
        Host, with brackets where it is IPv6, and port.
    """
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, port


def sent_on(address: str, reached: str) -> str:
    """Where a server that was reached sends a device.

    Args:
        address: What it says; host ``*`` is the one that it was reached at.
        reached: The address that it was reached at.

    Returns:
        The address to connect to.

    Raises:
        ProtocolError: What it says is no address.
    """
    try:
        host, port = split_address(check_address(address))
        return check_address(f"tcp://{split_address(reached)[0] if host == '*' else host}:{port}")
    except AddressError as error:
        raise ProtocolError(
            f"the server at {reached} sends this device on: {error.what}"
        ) from error


def bind_server(
    context: zmq.Context[zmq.Socket[bytes]], address: str, keys: KeyPair | None
) -> zmq.Socket[bytes]:
    """Bind the server's ROUTER.

    Args:
        context: The process's context.
        address: ``tcp://HOST:PORT``; ``*`` for any free port.
        keys: The server's keys; None only for loopback.

    Returns:
        The socket; ``LAST_ENDPOINT`` tells its port.

    Raises:
        AddressError: The address is malformed, taken, or not this machine's.
    """
    check_address(address, insecure=keys is None)
    socket = context.socket(zmq.ROUTER)
    _common(socket, address)
    socket.router_mandatory = True
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
        AddressError: The address is malformed.
    """
    check_address(address, insecure=keys is None)
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
    # With it an IPv4 address is bound as [::ffff:...], which people would have to copy.
    socket.ipv6 = _IPV4.match(address) is None
    # CURVE adds to a frame before its size is checked.
    socket.maxmsgsize = MAX_BODY_BYTES + 256
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    socket.heartbeat_ttl = HEARTBEAT_TIMEOUT_MS
    socket.handshake_ivl = 10_000


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _bind_error(address: str, error: zmq.ZMQError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(
            f"{address} is taken by another process", "choose another port, or stop that process"
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return AddressError(
            f"{address} is not an address of this machine", "use tcp://0.0.0.0:PORT for all of them"
        )
    if error.errno == errno.EACCES:
        return AddressError(f"no permission to bind {address}", "use a port above 1023")
    return AddressError(f"cannot bind {address}: {error.strerror}")
