"""Keeps a link's bytes moving on a thread of its own while the device computes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


class Pump:
    """Calls a piece of work again and again, but only inside :meth:`running`.

    Outside of it the work's owner may do the same work itself: the two never run at once.

    Args:
        work: Returns whether to be called again. It may wait, but not once :attr:`wake` is
            readable.
    """

    def __init__(self, work: Callable[[], bool]) -> None:
        self._work = work
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._thread: threading.Thread | None = None
        self._go = threading.Event()
        self._halt = threading.Event()
        self._idle = threading.Event()
        self._ended = False
        self._error: Exception | None = None

    @property
    def wake(self) -> int:
        """A descriptor that becomes readable when the work has to end."""
        return self._ear.fileno()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the work go on during a block.

        Raises:
            Exception: Whatever the work raised; after the block, and only if that raised nothing.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="slfac-pump", daemon=True)
            self._thread.start()
        self._error = None
        self._halt.clear()
        self._idle.clear()
        self._go.set()
        try:
            yield
        finally:
            self._halt.set()
            self._mouth.send(b"\0")
            self._idle.wait()
            self._ear.recv(1)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread."""
        self._ended = True
        self._go.set()
        if self._thread is not None:
            self._thread.join()
        self._ear.close()
        self._mouth.close()

    def _run(self) -> None:
        while True:
            self._go.wait()
            self._go.clear()
            if self._ended:
                return
            try:
                while not self._halt.is_set() and self._work():
                    pass
            except Exception as error:  # noqa: BLE001 - the thread that computes must learn of it
                self._error = error
            finally:
                self._idle.set()
