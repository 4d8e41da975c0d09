"""Runs commands on a host: over SSH, or on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import asyncssh

from slfac.testbed.hosts.targets import Target
from slfac.testbed.hosts.trust import check_known_hosts, untrusted
from slfac.wire.errors import AuthError, KeyFileError, LinkError, SlfacError

# A lost connection is noticed after four of them: a small board that trains may be silent for long.
_KEEPALIVE_S: Final = 5
_KEEPALIVES: Final = 3
# Until one is in: such a board takes many seconds over a log-in.
_CONNECT_S: Final = 30.0
_LINE_BYTES: Final = 1 << 24


class LostError(LinkError):
    """The connection to a host broke."""


@dataclass(frozen=True)
class Running:
    """A command that runs on a host.

    Attributes:
        stdin: Takes bytes.
        stdout: Gives bytes.
    """

    stdin: Any
    stdout: Any


class Shell(Protocol):
    """Runs commands on a host."""

    def run(self, command: Sequence[str]) -> contextlib.AbstractAsyncContextManager[Running]:
        """Run a command; it ends when the ``async with`` block does."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class LocalShell:
    """Runs commands on this machine."""

    @contextlib.asynccontextmanager
    async def run(self, command: Sequence[str]) -> AsyncIterator[Running]:
        """Run a command; it ends when the block does.

        Args:
            command: Program and arguments.
        """
        process = await asyncio.create_subprocess_exec(
            os.path.expanduser(command[0]),  # noqa: PTH111 - a program, perhaps found by PATH
            *command[1:],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LINE_BYTES,
            start_new_session=True,
        )
        try:
            yield Running(process.stdin, process.stdout)
        finally:
            with contextlib.suppress(ProcessLookupError, OSError):
                if process.stdin is not None:
                    process.stdin.close()
                await asyncio.wait_for(process.wait(), 5)
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def close(self) -> None:
        """Nothing is open."""


class SshShell:
    """Runs commands over an SSH connection.

    Args:
        connection: The connection.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection

    @contextlib.asynccontextmanager
    async def run(self, command: Sequence[str]) -> AsyncIterator[Running]:
        """Run a command; it ends when the block does.

        Args:
            command: Program and arguments.
        """
        line = " ".join(_word(part) for part in command)
        process = await self._connection.create_process(
            line, encoding=None, stderr=asyncssh.DEVNULL
        )
        try:
            yield Running(process.stdin, process.stdout)
        finally:
            process.close()

    async def close(self) -> None:
        """Hang up."""
        self._connection.close()
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError, asyncssh.Error, OSError):
            await asyncio.wait_for(self._connection.wait_closed(), 3)


async def open_shell(target: Target) -> Shell:
    """Connect to a host.

    Args:
        target: The host.

    Returns:
        Its shell.

    Raises:
        SlfacError: A branch of it, which names the host: it cannot be reached, its key is not
            known or has changed, or it does not let us in.
    """
    if target.host is None:
        return LocalShell()
    check_known_hosts(target)
    # What this user has set for hosts elsewhere says nothing about those of this machine.
    options: dict[str, Any] = {"config": None} if target.program is not None else {}
    if target.user is not None:
        options["username"] = target.user
    if target.key is not None:
        options |= {"client_keys": [str(target.key)], "agent_path": None}
    try:
        if target.socket is not None:
            options["sock"] = await asyncio.to_thread(_dialled, target)
        return SshShell(
            await asyncssh.connect(
                target.host,
                target.port,
                known_hosts=str(target.known_hosts),
                keepalive_interval=_KEEPALIVE_S,
                keepalive_count_max=_KEEPALIVES,
                connect_timeout=_CONNECT_S,
                login_timeout=_CONNECT_S,
                password_auth=False,
                kbdint_auth=False,
                **options,
            )
        )
    except (asyncssh.Error, OSError, TimeoutError, asyncio.TimeoutError, ValueError) as error:
        raise _explained(target, error) from error


def _dialled(target: Target) -> socket.socket:
    """A connected socket of the target's own."""
    assert target.socket is not None  # noqa: S101 - its caller has seen to it
    dialled = target.socket()
    try:
        dialled.settimeout(_CONNECT_S)
        dialled.connect((target.host, target.port))
        dialled.setblocking(False)
    except BaseException:
        dialled.close()
        raise
    return dialled


def _explained(target: Target, error: Exception) -> SlfacError:
    """What went wrong, in one line that names the host."""
    name, where = target.name, target.where
    user = "" if target.user is None else f"{target.user}@"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return untrusted(target)
    if isinstance(error, asyncssh.PermissionDenied):
        key = "" if target.key is None else f"-i {target.key} "
        port = "" if target.port == 22 else f"-p {target.port} "
        return AuthError(
            f"{name}: {where} does not let {target.user or 'this user'} in with "
            f"{target.key or 'the keys of the SSH agent and ~/.ssh'}",
            f"`ssh-copy-id {key}{port}{user}{target.host}`, or set user and key",
        )
    if isinstance(error, asyncssh.KeyImportError | asyncssh.KeyEncryptionError):
        return KeyFileError(
            f"{name}: {target.key or 'a key in ~/.ssh'} cannot be used: {error}",
            "give a private key without a passphrase, or leave `key` out and `ssh-add` it",
        )
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename:
        return KeyFileError(f"{name}: {error.filename}: {error.strerror}", "give the private key")
    return LinkError(
        f"{name}: SSH cannot be reached at {where}: {_why(error)}",
        "check that it is on, its address, and that SSH runs there",
    )


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return f"no answer within {_CONNECT_S:g} s"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, asyncssh.Error):
        return error.reason
    return getattr(error, "strerror", None) or str(error)


def _word(part: str) -> str:
    """A word for the shell at the other end; a home folder that is meant stays one."""
    if part.startswith("~/"):
        return f'"$HOME"/{shlex.quote(part[2:])}'
    return shlex.quote(part)
