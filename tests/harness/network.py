"""What addresses this machine has; containers often lack those of IPv6."""

from __future__ import annotations

import socket

import psutil


def has_ipv6() -> bool:
    """Whether there is an IPv6 loopback address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def link_local() -> list[str]:
    """An IPv6 address of one link, with its interface and in brackets, where there is one."""
    for name, addresses in psutil.net_if_addrs().items():
        for one in addresses:
            if one.family == socket.AF_INET6 and one.address.startswith("fe80:"):
                return [f"[{one.address.partition('%')[0]}%{name}]"]
    return []


LOOPBACK = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
