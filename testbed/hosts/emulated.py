"""Emulated hosts as real ones are used: each has an SSH server of its own, with throw-away keys."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from slfac.testbed.emulate.lan import Lan, end_lan, find_lan, raise_lan
from slfac.testbed.emulate.plan import CONTROL, LanPlan, plan_of
from slfac.testbed.hosts.lab import Lab, real_lab
from slfac.testbed.hosts.remote.processes import started_at
from slfac.testbed.hosts.sshd import (
    SshServer,
    await_server,
    make_user_key,
    set_up_server,
    start_server,
)
from slfac.testbed.hosts.targets import SERVER, Target, own_program
from slfac.testbed.inventory import Inventory
from slfac.wire.errors import RunError

_SSH_PORT: Final = 22
_LOOPBACK: Final = "127.0.0.1"
_SERVERS_FILE: Final = "servers.json"


@contextlib.contextmanager
def opened(
    inventory: Inventory, *, emulate: bool, make: bool = False, keep: bool = False
) -> Iterator[Lab]:
    """A testbed to work on.

    Args:
        inventory: What it is.
        emulate: Whether its hosts are emulated.
        make: Whether to make emulated hosts that are not there yet.
        keep: Whether those that are made stay when the block ends well.

    Yields:
        The testbed.

    Raises:
        SettingsError: A host has no address.
        RunError: Emulated hosts are not there, or cannot be made.
    """
    if not emulate:
        yield real_lab(inventory)
        return
    lan, is_new = _lan(inventory, make=make, keep=keep)
    ended_well = False
    try:
        with contextlib.ExitStack() as held:
            if is_new and not keep:
                held.enter_context(lan)
            yield _emulated_lab(inventory, lan)
        ended_well = True
    finally:
        if is_new and not (keep and ended_well):
            close_emulated(inventory)


def close_emulated(inventory: Inventory) -> str:
    """End emulated hosts with all that runs in them, and remove their files.

    Args:
        inventory: The testbed.

    Returns:
        What was done, in words.

    Raises:
        RunError: They do not end.
    """
    folder = emulated_folder(inventory.name)
    for pid, began in _kept_servers(folder):
        if pid and started_at(pid) == began:
            _end_tree(pid)
    was_up = end_lan(inventory.name)
    shutil.rmtree(folder, ignore_errors=True)
    return f"testbed {inventory.name} {'has ended' if was_up else 'was not up'}"


def emulated_folder(name: str) -> Path:
    """Where emulated hosts have their files.

    Args:
        name: The testbed's name.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "slfac" / "emulated" / name


def _lan(inventory: Inventory, *, make: bool, keep: bool) -> tuple[Lan, bool]:
    try:
        return find_lan(inventory.name), False
    except RunError as error:
        if not make:
            file = inventory.file
            remedy = f"`slfac testbed up {file} --emulate` makes it"
            raise RunError(f"no emulated testbed named {inventory.name} is up", remedy) from error
    # What one that was killed has left.
    shutil.rmtree(emulated_folder(inventory.name), ignore_errors=True)
    return raise_lan(_plan(inventory), tied=not keep), True


def _plan(inventory: Inventory) -> LanPlan:
    """The LAN; sshd wants a root that may become any user, which only the real one may."""
    plan = plan_of(inventory)
    if os.geteuid() == 0 or plan.shaper == "relay":
        return plan
    if plan.shaper != "auto":
        raise RunError(
            f"emulated hosts with SSH and the shaper {plan.shaper} need root",
            "run it with sudo, or set emulate.shaper to relay",
        )
    return dataclasses.replace(plan, shaper="relay")


def _emulated_lab(inventory: Inventory, lan: Lan) -> Lab:
    folder = emulated_folder(inventory.name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = make_user_key(folder)
    names = [SERVER, *(device.name for device in inventory.devices)]
    servers = {name: _server(folder, lan, name, Path(f"{key}.pub")) for name in names}
    known_hosts = folder / "known_hosts"
    known_hosts.write_text("".join(server.known_line() for server in servers.values()), "ascii")
    _start_servers(folder, lan, servers)
    targets = [_target(folder, lan, name, servers[name], key) for name in names]
    endpoints = {device.name: lan.hosts[device.name].server_address for device in inventory.devices}
    return Lab(inventory, targets, lan.server_address, endpoints, lan, lan.limits)


def _server(folder: Path, lan: Lan, name: str, public: Path) -> SshServer:
    host, place = lan.hosts[name], folder / "sshd" / name
    if host.pid:
        return set_up_server(place, host.address, _SSH_PORT, public)
    # All of them share one network: each keeps the port that it has had.
    port_file = place / "port"
    if not port_file.exists():
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        port_file.write_text(str(_free_port()), "ascii")
    return set_up_server(place, _LOOPBACK, int(port_file.read_text("ascii")), public)


def _start_servers(folder: Path, lan: Lan, servers: dict[str, SshServer]) -> None:
    """Start those that do not run."""
    kept = _kept_servers(folder)
    if len(kept) == len(servers) and all(started_at(pid) == began for pid, began in kept):
        return
    started = {
        name: start_server(server, lan.hosts[name].command(()) if lan.hosts[name].pid else ())
        for name, server in servers.items()
    }
    noted = [(process.pid, started_at(process.pid)) for process in started.values()]
    (folder / _SERVERS_FILE).write_text(json.dumps(noted), "ascii")
    for name, server in servers.items():
        with _socket(lan, name) as tried:
            await_server(server, started[name], tried)


def _target(folder: Path, lan: Lan, name: str, server: SshServer, key: Path) -> Target:
    return Target(
        name=name,
        host=server.address,
        port=server.port,
        user=server.user,
        key=key,
        known_hosts=folder / "known_hosts",
        python=sys.executable,
        work=str(folder / "work"),
        program=own_program(),
        socket=(lambda: _socket(lan, name)) if lan.hosts[name].pid else None,
    )


def _socket(lan: Lan, name: str) -> socket.socket:
    """A socket in the network from which a host can be reached."""
    if lan.hosts[name].pid:
        return lan.socket_in(CONTROL)
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _kept_servers(folder: Path) -> list[tuple[int, int | None]]:
    try:
        noted: list[Any] = json.loads((folder / _SERVERS_FILE).read_bytes())
        return [(int(pid), began) for pid, began in noted]
    except (OSError, ValueError, TypeError):
        return []


def _end_tree(pid: int) -> None:
    """End a process and all below it."""
    for child in _children(pid):
        _end_tree(child)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text("ascii").split()]
    return found


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind((_LOOPBACK, 0))
        port: int = tried.getsockname()[1]
        return port
