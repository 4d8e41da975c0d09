"""A host that commands can be given to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import asyncssh

from slfac.testbed.hosts.archive import helper_archive, helper_name, probe_source
from slfac.testbed.hosts.remote.lease import RENEWED_S
from slfac.testbed.hosts.shell import LostError, Running, Shell, open_shell
from slfac.testbed.hosts.targets import Target
from slfac.wire.errors import HostError

_ANSWER_S: Final = 120.0
_PIECE_BYTES: Final = 1 << 17
# Writes standard input to the path that is its argument, whole or not at all, unless it is there:
# `down` is for full drives too.
_PUT: Final = """
import os, sys
path, data = sys.argv[1], sys.stdin.buffer.read()
def known():
    try:
        with open(path, "rb") as file:
            return file.read() == data
    except OSError:
        return False
if not known():
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with open(path + ".new", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
print("written")
"""
_BROKEN: Final = (asyncssh.Error, OSError, asyncio.IncompleteReadError)


class Host:
    """A host, connected.

    Args:
        target: Where it is.
        shell: Runs commands there.
        testbed: Name of the testbed.

    Attributes:
        target: Where it is.
        name: What the testbed calls it.
        folder: This testbed's folder on it; empty before :meth:`prepare`.
        versions: Folder of releases on it.
    """

    def __init__(self, target: Target, shell: Shell, testbed: str) -> None:
        self.target = target
        self.name = target.name
        self.folder = ""
        self.versions = ""
        self.unit = f"slfac-testbed-{testbed}-{target.name}.service"
        self._testbed = testbed
        self._shell = shell
        self._python = target.python
        self._helper = ""

    async def close(self) -> None:
        """Hang up."""
        await self._shell.close()

    async def reconnect(self) -> None:
        """Connect anew, where the connection may have broken.

        Raises:
            SlfacError: A branch of it, which names the host.
        """
        await self._shell.close()
        self._shell = await open_shell(self.target)

    async def probe(self) -> dict[str, Any]:
        """Ask the host what it is.

        Returns:
            What :func:`slfac.testbed.hosts.remote.probe.facts` says.

        Raises:
            HostError: It has no such Python.
            LostError: The connection broke.
        """
        async with self._running(self._python, "-", self.target.work) as running:
            running.stdin.write(probe_source())
            running.stdin.write_eof()
            data = await self._within(running.stdout.read())
        try:
            facts: dict[str, Any] = json.loads(data)
        except ValueError:
            raise HostError(
                f"{self.name}: `{self._python}` does not run there",
                "install Python 3.10 to 3.13, or set `python` to where it is",
            ) from None
        return facts

    async def find(self) -> bool:
        """Prepare for commands, unless nothing of any testbed is there, which is left so.

        Returns:
            Whether commands can be given.

        Raises:
            HostError: Its folder cannot be written.
            LostError: The connection broke.
        """
        facts = await self.probe()
        if is_here(facts):
            await self.prepare(facts)
        return is_here(facts)

    async def prepare(self, facts: dict[str, Any]) -> None:
        """Put there what later commands need, unless it is there.

        Args:
            facts: What the host is.

        Raises:
            HostError: It cannot be written.
            LostError: The connection broke.
        """
        work = facts["folder"]
        self._python = facts["python_path"]
        self.versions = f"{work}/versions"
        self.folder = f"{work}/{self._testbed}/{self.name}"
        data = helper_archive()
        self._helper = f"{self.folder}/{helper_name(data)}"
        async with self._running(self._python, "-c", _PUT, self._helper) as running:
            running.stdin.write(data)
            running.stdin.write_eof()
            said = await self._within(running.stdout.read())
        if said.strip() != b"written":
            raise HostError(
                f"{self.name}: {self.folder} cannot be written",
                "free some space there, or set `work` to a folder that the user may write",
            )

    async def call(self, name: str, /, *, within_s: float = _ANSWER_S, **values: Any) -> Any:
        """Have a command run.

        Args:
            name: Which of :mod:`slfac.testbed.hosts.remote`.
            within_s: How long it may take.
            **values: Its arguments.

        Returns:
            What it gives.

        Raises:
            HostError: It failed there.
            LostError: The connection broke, or no answer came.
        """
        async with self._running(*self._line(name)) as running:
            running.stdin.write(_arguments(values))
            data = await self._within(_last(running), within_s)
        return self._result(data)

    async def send(
        self, command: str, file: Path, on_sent: Callable[[float], None], **values: Any
    ) -> Any:
        """Have a command run that takes a file.

        Args:
            command: Which.
            file: The file.
            on_sent: Told the share that was sent, now and then.
            **values: Its arguments.

        Returns:
            What it gives.

        Raises:
            HostError: It failed there.
            LostError: The connection broke.
        """
        size = max(file.stat().st_size, 1)
        async with self._running(*self._line(command)) as running:
            running.stdin.write(_arguments(values))
            with file.open("rb") as stream:
                while piece := stream.read(_PIECE_BYTES):
                    try:
                        running.stdin.write(piece)
                        await self._within(running.stdin.drain())
                    except BrokenPipeError:
                        break  # it says why
                    on_sent(stream.tell() / size)
            with contextlib.suppress(BrokenPipeError):
                running.stdin.write_eof()
            data = await self._within(_last(running))
        return self._result(data)

    async def fetch(self, file: Path, *, folder: str, leave_out: tuple[str, ...] = ()) -> None:
        """Bring a folder here.

        Args:
            file: Where to write it, as a compressed archive.
            folder: The folder there.
            leave_out: Names of what is left out at its top.

        Raises:
            LostError: The connection broke.
        """
        async with self._running(*self._line("pack")) as running:
            running.stdin.write(_arguments({"folder": folder, "leave_out": leave_out}))
            with file.open("wb") as stream:
                while piece := await self._within(running.stdout.read(_PIECE_BYTES)):
                    stream.write(piece)

    async def listen(self, name: str, /, **values: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Have a command run that goes on for as long as one listens.

        Args:
            name: Which.
            **values: Its arguments.

        Yields:
            Each line that it gives, the last being its result.

        Raises:
            HostError: It failed there.
            LostError: The connection broke.
        """
        async with self._running(*self._line(name)) as running:
            running.stdin.write(_arguments(values))
            renewal = asyncio.create_task(_renew(running))
            try:
                while line := await running.stdout.readline():
                    said = json.loads(line)
                    if "problem" in said:
                        self._result(line)
                    yield said
            finally:
                renewal.cancel()

    async def clock_samples(self, count: int) -> list[tuple[float, float, float]]:
        """Ask for the time, one question after the other.

        Args:
            count: How often.

        Returns:
            Of each: when it was asked by this machine's clock, what the host said, and when
            the answer was here, all in seconds.

        Raises:
            LostError: The connection broke.
        """
        samples = []
        async with self._running(*self._line("clock")) as running:
            for _ in range(count):
                asked_s = time.time()
                running.stdin.write(b"\n")
                line = await self._within(running.stdout.readline(), 10.0)
                if not line:
                    raise LostError(f"{self.name}: the connection broke")
                samples.append((asked_s, float(json.loads(line)["time_s"]), time.time()))
            running.stdin.write_eof()
        return samples

    async def write(self, path: str, data: bytes) -> None:
        """Write a small file there.

        Args:
            path: Where.
            data: What.
        """
        await self.call("write", path=path, text=base64.b64encode(data).decode())

    async def read(self, path: str) -> bytes | None:
        """Read a small file there.

        Args:
            path: Which.

        Returns:
            Its bytes; None where there is none.
        """
        data = (await self.call("read", path=path))["data"]
        return None if data is None else base64.b64decode(data)

    def _line(self, command: str) -> list[str]:
        return [self._python, self._helper, command]

    @contextlib.asynccontextmanager
    async def _running(self, *command: str) -> AsyncIterator[Running]:
        try:
            async with self._shell.run(command) as running:
                yield running
        except LostError:
            raise
        except _BROKEN as error:
            raise self._lost(error) from error

    async def _within(self, work: Any, seconds: float = _ANSWER_S) -> Any:
        try:
            return await asyncio.wait_for(work, seconds)
        except (TimeoutError, asyncio.TimeoutError):
            raise LostError(
                f"{self.name}: no answer from {self.target.where} for {seconds:g} s",
                "check its link, and whether it is overloaded",
            ) from None

    def _lost(self, error: BaseException) -> LostError:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        return LostError(
            f"{self.name}: the connection to {self.target.where} broke: {why or 'it was closed'}",
            "check that it is on, and its link",
        )

    def _result(self, data: bytes) -> Any:
        try:
            said = json.loads(data)
        except ValueError:
            raise LostError(f"{self.name}: the connection broke before an answer came") from None
        if "problem" in said:
            raise HostError(f"{self.name}: {said['problem']}", said["remedy"])
        return said.get("ok")


def is_here(facts: dict[str, Any]) -> bool:
    """Whether a host has the folder of all testbeds.

    Args:
        facts: What the host is.
    """
    return bool(facts["nearest"] == facts["folder"])


async def connect(target: Target, testbed: str) -> Host:
    """Connect to a host.

    Args:
        target: Where it is.
        testbed: Name of the testbed.

    Returns:
        The host.

    Raises:
        SlfacError: A branch of it, which names the host.
    """
    return Host(target, await open_shell(target), testbed)


def _arguments(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"


async def _last(running: Running) -> bytes:
    last = b""
    while line := await running.stdout.readline():
        last = line
    return last


async def _renew(running: Running) -> None:
    """Say again and again that somebody listens."""
    with contextlib.suppress(*_BROKEN):
        while True:
            await asyncio.sleep(RENEWED_S)
            running.stdin.write(b"\n")
