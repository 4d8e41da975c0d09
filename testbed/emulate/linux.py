"""The few calls of Linux that Python 3.10 has no functions for."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
_PR_SET_PDEATHSIG: Final = 1
_TUN: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_UP: Final = 1
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFADDR: Final = 0x8916
_SIOCSIFNETMASK: Final = 0x891C
_SIOCSIFHWADDR: Final = 0x8924
_SIOCSARP: Final = 0x8955
_ARPHRD_ETHER: Final = 1
CONGESTION: Final = "ipv4/tcp_congestion_control"
_ATF_COM_PERM: Final = 0x02 | 0x04

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move this process to new namespaces.

    Args:
        flags: ``CLONE_NEW...``.

    Raises:
        OSError: The kernel refuses.
    """
    _called(_libc.unshare(flags), "unshare")


def set_namespace(descriptor: int, kind: int) -> None:
    """Move this process to a namespace.

    Args:
        descriptor: An open file of ``/proc/PID/ns``.
        kind: ``CLONE_NEW...``.

    Raises:
        OSError: The kernel refuses.
    """
    _called(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    """Mount something.

    Args:
        source: What.
        target: Where.
        kind: Type of the file system; None where ``flags`` say enough.
        flags: ``MS_...``.

    Raises:
        OSError: The kernel refuses.
    """
    named = None if kind is None else kind.encode()
    done = _libc.mount(source.encode(), target.encode(), named, ctypes.c_ulong(flags), None)
    _called(done, f"mount {target}")


def die_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when the thread that forked it ends.

    Args:
        number: The signal.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, number)


def set_host_name(name: str) -> None:
    """Name this process's UTS namespace.

    Args:
        name: The name.
    """
    _called(_libc.sethostname(name.encode(), len(name.encode())), "sethostname")


def open_tap(name: str) -> int:
    """Make a TAP interface in this process's network namespace; it goes with its descriptor.

    Args:
        name: Name of the interface.

    Returns:
        Descriptor, not blocking: a read gives a frame, a write takes one.

    Raises:
        OSError: There is no TUN driver, or the kernel refuses.
    """
    tap = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    except OSError:
        os.close(tap)
        raise
    return tap


def configure(name: str, address: str, mask: str, hardware: bytes) -> None:
    """Give an interface its addresses and start it.

    Args:
        name: The interface, of this process's network namespace.
        address: IPv4 address.
        mask: Its network's mask.
        hardware: Ethernet address, 6 bytes.

    Raises:
        OSError: The kernel refuses.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH6s16x", name.encode(), _ARPHRD_ETHER, hardware)
        fcntl.ioctl(any_socket, _SIOCSIFHWADDR, request)
        for call, number in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, mask)):
            fcntl.ioctl(any_socket, call, struct.pack("16s16s8x", name.encode(), _place(number)))
    start_interface(name)


def start_interface(name: str) -> None:
    """Start an interface.

    Args:
        name: The interface, of this process's network namespace.

    Raises:
        OSError: The kernel refuses.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        flags = struct.unpack("16sH22x", asked)[1] | _IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags))


def add_neighbour(name: str, address: str, hardware: bytes) -> None:
    """Tell an interface for good where a neighbour is, so that nobody has to ask on lossy links.

    Args:
        name: The interface, of this process's network namespace.
        address: The neighbour's IPv4 address.
        hardware: Its Ethernet address, 6 bytes.

    Raises:
        OSError: The kernel refuses.
    """
    at = struct.pack("H6s8x", _ARPHRD_ETHER, hardware)
    request = struct.pack("16s16si16x16s", _place(address), at, _ATF_COM_PERM, name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSARP, request)


def set_sysctl(name: str, value: str) -> None:
    """Set something of this process's network namespace.

    Args:
        name: Path below ``/proc/sys/net``.
        value: The value.

    Raises:
        OSError: It is not there, or must not be set.
    """
    Path("/proc/sys/net", name).write_text(value, encoding="ascii")


def get_sysctl(name: str) -> str:
    """What something of this process's network namespace is set to.

    Args:
        name: Path below ``/proc/sys/net``.

    Raises:
        OSError: It is not there.
    """
    return Path("/proc/sys/net", name).read_text(encoding="ascii").strip()


def _place(address: str) -> bytes:
    """A ``struct sockaddr_in``."""
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))


def _called(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
