"""The socket over which a LAN is told what to do: a line of JSON each way."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slfac.wire.errors import SettingsError, SlfacError

if TYPE_CHECKING:
    from slfac.testbed.emulate.keeper import Keeper

_MOST_BYTES: Final = 4096
_LONGEST_S: Final = 86400.0


class Control:
    """Answers requests, each of a connection of its own.

    Args:
        path: Where to listen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._clients: dict[int, socket.socket] = {}

    def descriptors(self) -> list[int]:
        """Descriptors to wait for."""
        return [self._listener.fileno(), *self._clients]

    def work(self, ready: Iterable[int], keeper: Keeper) -> None:
        """Take connections and answer requests.

        Args:
            ready: Descriptors that can be read.
            keeper: Whom they are for.
        """
        for descriptor in ready:
            if descriptor == self._listener.fileno():
                with contextlib.suppress(OSError):
                    client = self._listener.accept()[0]
                    client.setblocking(False)
                    self._clients[client.fileno()] = client
            else:
                client = self._clients.pop(descriptor)
                with client, contextlib.suppress(OSError):
                    self._answer(client, keeper)

    def close(self) -> None:
        """Listen no more."""
        for client in self._clients.values():
            client.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _answer(self, client: socket.socket, keeper: Keeper) -> None:
        passed: list[socket.socket] = []
        try:
            request = json.loads(client.recv(_MOST_BYTES))
            answer = _do(request, keeper, passed)
        except SlfacError as error:
            answer = {"error": error.what, "remedy": error.remedy}
        except (ValueError, KeyError, TypeError) as error:
            answer = {"error": f"this is no request: {error!r}", "remedy": ""}
        line = f"{json.dumps(answer)}\n".encode()
        client.setblocking(True)
        client.settimeout(5.0)
        try:
            if passed:
                socket.send_fds(client, [line], [one.fileno() for one in passed])
            else:
                client.sendall(line)
        finally:
            for one in passed:
                one.close()


def _do(request: Mapping[str, Any], keeper: Keeper, passed: list[socket.socket]) -> dict[str, Any]:
    what = request["do"]
    plain = _PLAIN.get(what)
    if plain is not None:
        return plain(keeper)
    if what == "socket":
        passed.append(keeper.backend.socket_in(_known(request["host"], _hosts(keeper))))
        return {}
    device = _known(request["device"], [link.device for link in keeper.plan.links])
    if what == "restore":
        return {"was_cut": keeper.restore(device)}
    if what != "cut":
        raise ValueError(f"do is {what!r}")
    for_s = request.get("for_s")
    if for_s is not None and not 0 < float(for_s) <= _LONGEST_S:
        raise SettingsError(f"{for_s} s is no time for a cut", "give more than 0, up to a day")
    keeper.cut(device, None if for_s is None else float(for_s))
    return {}


def _status(keeper: Keeper) -> dict[str, Any]:
    facts = asdict(keeper.backend.facts)
    return {"name": keeper.plan.name, "pid": os.getpid(), "cuts": keeper.cuts, **facts}


def _counters(keeper: Keeper) -> dict[str, Any]:
    return {"counters": keeper.backend.counters()}


def _begin(keeper: Keeper) -> dict[str, Any]:
    keeper.begin()
    return {}


def _end(keeper: Keeper) -> dict[str, Any]:
    keeper.ended = True
    return {}


_PLAIN: Final[dict[str, Callable[[Keeper], dict[str, Any]]]] = {
    "status": _status,
    "counters": _counters,
    "begin": _begin,
    "end": _end,
}


def _hosts(keeper: Keeper) -> list[str]:
    return [host.name for host in keeper.backend.facts.hosts]


def _known(name: str, names: list[str]) -> str:
    if name not in names:
        raise SettingsError(
            f"there is no {name!r} in this testbed", f"there are {', '.join(names)}"
        )
    return name
