"""A small web server that can be flooded without harm to the process it is in.

Each connection is one request, has ten seconds and a thread. There are at most 32 at a time,
and at most fifty are taken in a second; the rest wait in the kernel, or are closed.
"""

from __future__ import annotations

import http.server
import io
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import Any, ClassVar

from slfac.server.live.address import ListenAddress, is_loopback, named_host
from slfac.wire.errors import AddressError

_MAX_CONNECTIONS = 32
_MAX_PER_S = 50
_CONNECTION_S = 10.0
_MAX_REQUEST_BYTES = 16 * 1024
_TICK_S = 0.1
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What a request gets.

    Attributes:
        kind: Its media type.
        body: Its bytes.
    """

    kind: str
    body: bytes


# Called with the request's headers.
Route = Callable[[Message], Answer]


class WebServer:
    """Answers GET and HEAD requests for a few paths.

    On loopback, only requests that name a loopback host are answered: a web page from
    elsewhere, whose name was made to lead here, must not read what is shown (DNS rebinding).

    Args:
        address: Where to listen.
        routes: What answers, by path.

    Attributes:
        address: Where it listens, port included.

    Raises:
        AddressError: The address is taken, or not this machine's.
    """

    def __init__(self, address: ListenAddress, routes: Mapping[str, Route]) -> None:
        try:
            self._listener = _Listener(address, routes)
        except OSError as error:
            raise AddressError(
                f"cannot listen on {address}: {error.strerror or error}",
                "choose another port, or an address of this machine",
            ) from error
        self.address = ListenAddress(address.host, int(self._listener.server_address[1]))
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(_TICK_S,), name="slfac-web", daemon=True
        )

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and cut who is still being answered."""
        if self._thread.is_alive():
            self._listener.shutdown()
            self._thread.join()
        self._listener.server_close()


class _Listener(socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: ListenAddress, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self.only_loopback = address.is_loopback
        self._open: dict[socket.socket, float] = {}
        self._next_s = 0.0
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self.address_family = found[0][0]
        super().__init__(found[0][4][:2], _Handler)  # type: ignore[arg-type]

    def get_request(self) -> tuple[socket.socket, Any]:
        # Who is not taken now waits in the kernel: no flood gets more of this process's time.
        now_s = time.monotonic()
        if now_s < self._next_s:
            time.sleep(self._next_s - now_s)
        self._next_s = max(now_s, self._next_s) + 1 / _MAX_PER_S
        return super().get_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._open) >= _MAX_CONNECTIONS:
            self.shutdown_request(request)
            return
        self._open[request] = time.monotonic() + _CONNECTION_S
        threading.Thread(
            target=self._serve, args=(request, client_address), name="slfac-web-1", daemon=True
        ).start()

    def service_actions(self) -> None:
        now_s = time.monotonic()
        for request, until_s in tuple(self._open.items()):
            if now_s > until_s:
                _cut(request)

    def handle_error(self, *_: Any) -> None:
        _log.debug("a request could not be taken", exc_info=True)

    def server_close(self) -> None:
        super().server_close()
        for request in tuple(self._open):
            _cut(request)

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError as error:
            _log.debug("a request was cut short: %s", error)
        finally:
            self._open.pop(request, None)
            self.shutdown_request(request)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server_version = "slfac"
    sys_version = ""
    timeout: ClassVar[float] = _CONNECTION_S
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self._reader = _Bounded(self.rfile)
        self.rfile = self._reader  # type: ignore[assignment]

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _reply(self, *, with_body: bool) -> None:
        if self._reader.exceeded:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self.server.only_loopback and not is_loopback(named_host(self.headers.get("Host"))):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif (route := self.server.routes.get(self.path.partition("?")[0])) is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            answer = route(self.headers)
            self._send(HTTPStatus.OK, answer.kind, answer.body, with_body=with_body)

    def send_error(self, code: int, *_: Any) -> None:
        """Answer with an error, repeating nothing of the request."""
        status = HTTPStatus(code)
        body = f"{status.value} {status.phrase}\n".encode()
        self._send(status, "text/plain; charset=utf-8", body, with_body=True)

    def _send(self, status: HTTPStatus, kind: str, body: bytes, *, with_body: bool) -> None:
        self.send_response(status)
        headers = {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: who asks decides what would be written."""


@dataclass
class _Bounded:
    """Reads lines of a request until it is too long."""

    source: io.BufferedIOBase
    left_bytes: int = field(default=_MAX_REQUEST_BYTES)
    exceeded: bool = False

    def readline(self, size: int = -1) -> bytes:
        limit = self.left_bytes if size < 0 else min(size, self.left_bytes)
        line = self.source.readline(limit) if limit else b""
        self.left_bytes -= len(line)
        self.exceeded = self.exceeded or not self.left_bytes
        return line

    def close(self) -> None:
        self.source.close()


def _cut(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        _log.debug("a connection was gone already: %s", error)
