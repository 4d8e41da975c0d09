"""A TCP relay that counts every byte, and cuts connections on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Relay:
    """Passes connections on to a port of this machine.

    Attributes:
        address: Where devices connect to.
        up: Bytes from devices.
        down: Bytes to devices.
    """

    def __init__(self, target: str) -> None:
        self._target = ("127.0.0.1", int(target.rsplit(":", 1)[1]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.up = 0
        self.down = 0
        self._cut_after: list[int] = []
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._opened: list[socket.socket] = []
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        # What devices said last is still passed on: a goodbye waits for no answer.
        for device, _ in self._pairs:
            with contextlib.suppress(OSError):
                device.shutdown(socket.SHUT_RD)
        for thread in self._threads:
            thread.join(10)
        for end in self._opened:
            end.close()

    def cut_after(self, *up_bytes: int) -> None:
        """Cut all connections each time the bytes from devices pass one of these totals."""
        self._cut_after = sorted(up_bytes)

    def cut(self) -> None:
        """Cut every connection there is, without a word."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """Refuse connections meanwhile, as a machine does on which nothing listens."""
        port = self._listener.getsockname()[1]
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        try:
            yield
        finally:
            self._listener = socket.create_server(("127.0.0.1", port))
            self._spawn(self._accept)

    def await_up(self, total: int, limit_s: float = 60) -> None:
        """Wait until this many bytes have come from devices."""
        with self._moved:
            assert self._moved.wait_for(lambda: self.up >= total, limit_s), "the link is silent"

    @property
    def cuts_left(self) -> int:
        return len(self._cut_after)

    def _spawn(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                # The server is being started again.
                device.close()
                continue
            with self._lock:
                self._pairs.append((device, server))
                self._opened += (device, server)
            self._spawn(self._pump, device, server, "up")
            self._spawn(self._pump, server, device, "down")

    def _pump(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        try:
            while data := source.recv(65536):
                with self._lock:
                    setattr(self, way, getattr(self, way) + len(data))
                    self._moved.notify_all()
                    due = self._cut_after and self.up >= self._cut_after[0]
                    if due:
                        self._cut_after.pop(0)
                if due:
                    # The server sees half of what was under way.
                    sink.sendall(data[: len(data) // 2])
                    self.cut()
                else:
                    sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
