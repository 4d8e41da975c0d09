"""Links of a set bit rate: a TCP relay on loopback that every byte takes its time to pass.

Each device gets an address of its own, and each direction of it a rate of its own, and a delay.
What counts against the rate are the bytes of TCP's stream; the headers of TCP, IP and Ethernet
are not in it. Jitter and loss are not emulated. A link that is cut holds what it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from slfac.testbed.link import LinkRate
from slfac.wire.errors import RunError, SettingsError

# A piece is handed on when its last byte is through: the later, the larger the pieces.
_PIECE_S = 0.004
_SMALLEST_PIECE_BYTES, _LARGEST_PIECE_BYTES = 1500, 1 << 16
_QUEUED_PIECES = 4
# Small, so that a sender soon feels the link. Linux doubles it.
_SOCKET_BUFFER_BYTES = 1 << 16
_START_S = 10.0


class PacedRelay:
    """Relays connections to a server, each device's at its rate; leaving ``with`` ends it.

    It runs on a thread of its own. Of what is under way, it holds a few pieces of 4 ms
    each, and those that the delay keeps; beyond that, senders wait.

    Args:
        target: ``tcp://HOST:PORT`` of the server.
        rates: One entry a device.

    Attributes:
        addresses: Where each device connects to, in the order of ``rates``.

    Raises:
        SettingsError: A link loses packets, which a relay of TCP's stream cannot.
    """

    def __init__(self, target: str, rates: Sequence[LinkRate]) -> None:
        if any(rate.loss for rate in rates):
            raise SettingsError("a paced relay loses no packets", "emulate the link: --emulate")
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._rates = tuple(rates)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._links = tuple(
            (_Pacer(rate.up_bit_per_s, rate.delay_s), _Pacer(rate.down_bit_per_s, rate.delay_s))
            for rate in self._rates
        )
        self._relaying: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self.addresses: list[str] = []

    def __enter__(self) -> PacedRelay:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_START_S)
        except OSError as error:
            self._end()
            raise RunError(f"cannot listen on loopback: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, index: int) -> None:
        """Hold everything on one device's link until :meth:`restore`.

        Args:
            index: Which of ``rates``.
        """
        for direction in self._links[index]:
            self._loop.call_soon_threadsafe(direction.open.clear)

    def restore(self, index: int) -> None:
        """Let one device's link carry again.

        Args:
            index: Which of ``rates``.
        """
        for direction in self._links[index]:
            self._loop.call_soon_threadsafe(direction.open.set)

    def passed_bytes(self, index: int) -> tuple[int, int]:
        """How much one device's link has carried, up and down.

        Args:
            index: Which of ``rates``.
        """
        up, down = self._links[index]
        return up.passed_bytes, down.passed_bytes

    async def _listen(self) -> None:
        for link in self._links:
            listener = _small_socket()
            listener.bind(("127.0.0.1", 0))
            server = await asyncio.start_server(self._accept_for(link), sock=listener)
            self._servers.append(server)
            self.addresses.append(f"tcp://127.0.0.1:{listener.getsockname()[1]}")

    def _accept_for(
        self, link: tuple[_Pacer, _Pacer]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._relay(_End(reader, writer), link))
            self._relaying.add(task)
            task.add_done_callback(self._relaying.discard)

        return accept

    async def _relay(self, device: _End, link: tuple[_Pacer, _Pacer]) -> None:
        """Carry one connection, until both ends have closed it or one has broken it."""
        ends = [device]
        try:
            connection = _small_socket()
            connection.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(connection, self._target)
            except OSError:
                connection.close()
                return
            server = _End(*await asyncio.open_connection(sock=connection))
            ends.append(server)
            up, down = link
            with contextlib.suppress(OSError):
                await _together(
                    _carry(device.reader, server.writer, up),
                    _carry(server.reader, device.writer, down),
                )
        finally:
            for end in ends:
                # What is left in a closed end's buffer still goes out; a broken one drops it.
                end.writer.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = list(self._relaying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _End(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class _Pacer:
    """Says when bytes are through one direction of a link, which passes one at a time."""

    def __init__(self, bit_per_s: float, delay_s: float) -> None:
        self._s_per_byte = 8 / bit_per_s
        self._delay_s = delay_s
        self._free_s = 0.0
        self.open = asyncio.Event()
        self.open.set()
        self.passed_bytes = 0
        pieces = round(_PIECE_S / self._s_per_byte)
        self.piece_bytes = min(max(pieces, _SMALLEST_PIECE_BYTES), _LARGEST_PIECE_BYTES)
        piece_s = self.piece_bytes * self._s_per_byte
        self.queued_pieces = _QUEUED_PIECES + math.ceil(delay_s / piece_s)

    def through_at_s(self, arrival_s: float, count: int) -> float:
        self._free_s = max(arrival_s, self._free_s) + count * self._s_per_byte
        return self._free_s + self._delay_s


_Pieces = asyncio.Queue[tuple[float, bytes]]


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Pacer) -> None:
    """Carry one direction until its end, and pass that on."""
    # Two tasks: bytes that wait while others pass are on time, however late a timer wakes us.
    pieces: _Pieces = asyncio.Queue(link.queued_pieces)
    await _together(_take_in(reader, pieces, link), _hand_on(pieces, writer, link))


async def _take_in(reader: asyncio.StreamReader, pieces: _Pieces, link: _Pacer) -> None:
    clock = asyncio.get_running_loop()
    piece = b"-"
    while piece:
        piece = await reader.read(link.piece_bytes)
        await pieces.put((link.through_at_s(clock.time(), len(piece)), piece))


async def _hand_on(pieces: _Pieces, writer: asyncio.StreamWriter, link: _Pacer) -> None:
    clock = asyncio.get_running_loop()
    writer.transport.set_write_buffer_limits(0)
    while True:
        due_s, piece = await pieces.get()
        await asyncio.sleep(max(0.0, due_s - clock.time()))
        await link.open.wait()
        if not piece:
            writer.write_eof()
            return
        writer.write(piece)
        await writer.drain()
        link.passed_bytes += len(piece)


async def _together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until they end; where one meets a broken connection, end the others too."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


def _small_socket() -> socket.socket:
    """A TCP socket with small buffers, which have to be set before it is connected."""
    plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        plain.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
    return plain
