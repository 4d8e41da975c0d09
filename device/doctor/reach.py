"""Can the server's host be found, and does anything listen on its port?"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from slfac.device.doctor.finding import Finding
from slfac.device.routes import Place, look_up, name_of

CONNECT_TIMEOUT_S = 3.0
_KINDS = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


@dataclass(frozen=True)
class Resolved:
    """Where a name leads.

    Attributes:
        finding: What to say of it.
        places: Address family and socket address of each, none where it failed.
    """

    finding: Finding
    places: tuple[Place, ...] = ()


def resolve(host: str, port: int) -> Resolved:
    """Look a host up.

    Args:
        host: A name or an address, IPv6 without brackets.
        port: The port.
    """
    try:
        places = look_up(host, port)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return Resolved(
            Finding(
                "failed",
                "name",
                f"{host} cannot be resolved: {reason}",
                "check the spelling, or give the server's address as a number, such as "
                "tcp://10.0.0.5:5555",
            )
        )
    text = ", ".join(f"{name_of(place)} ({_kind(place[0])})" for place in places)
    return Resolved(Finding("ok", "name", text), places)


def check_port(places: tuple[Place, ...], timeout_s: float = CONNECT_TIMEOUT_S) -> Finding:
    """Whether something listens at the places where a name leads.

    Args:
        places: From :func:`resolve`.
        timeout_s: How long to wait at each.
    """
    failures = {name_of(place): _connect(*place, timeout_s) for place in places}
    reached = [name for name, failure in failures.items() if failure is None]
    missed = [f"{name}: {failure}" for name, failure in failures.items() if failure is not None]
    port = places[0][1][1]
    if not reached:
        return Finding(
            "failed",
            "port",
            f"nothing answers on port {port!r} of {'; '.join(missed)}",
            "check that the server runs, its port, and the firewall between",
        )
    text = f"port {port!r} of {', '.join(reached)} is open"
    if missed:
        return Finding(
            "warning",
            "port",
            f"{text}, but not of {'; '.join(missed)}",
            "slfac takes one that answers; to save it the search, give the address as a number, "
            f"{reached[0]}",
        )
    return Finding("ok", "port", text)


def _connect(family: int, place: tuple[object, ...], timeout_s: float) -> str | None:
    """Connect and hang up; say what went wrong, or None."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.settimeout(timeout_s)
            tried.connect(place)
    except TimeoutError:
        return f"no answer within {timeout_s:g} s (off, another address, or a firewall)"
    except ConnectionRefusedError:
        return "nobody listens there"
    except OSError as error:
        return error.strerror or str(error)
    return None


def _kind(family: int) -> str:
    return _KINDS.get(socket.AddressFamily(family), str(family))
