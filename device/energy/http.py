"""One web page from a plug: bounded in bytes and in time, without redirects or proxies."""

from __future__ import annotations

import io
import re
import socket
import time
from http.client import HTTPException, HTTPResponse
from typing import cast
from urllib.parse import urlsplit

_MOST_BYTES = 65536
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})", re.IGNORECASE)


class _Received:
    """Bytes that have come, as the parser wants them: a socket that can be read."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        del mode
        return io.BytesIO(self._data)


def fetch(url: str, timeout_s: float) -> bytes:
    """The body of a web page.

    Args:
        url: ``http://HOST[:PORT]/PATH``.
        timeout_s: All of it must have come by then, however slowly it comes.

    Returns:
        The body, at most 64 KiB with its headers.

    Raises:
        OSError: It does not come in time, is too long, is no HTTP, or is not a page (status 200).
    """
    parts = urlsplit(url)
    end_s = time.monotonic() + timeout_s
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    # HTTP 1.0: the plug hangs up behind its answer, and does not cut it into chunks.
    request = f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    data = bytearray()
    with socket.create_connection(
        (parts.hostname or "", parts.port or 80), timeout_s
    ) as connection:
        connection.sendall(request.encode("ascii"))
        while not _is_whole(data) and (chunk := _receive(connection, end_s)):
            data += chunk
            if len(data) > _MOST_BYTES:
                raise OSError(f"the answer is longer than {_MOST_BYTES} bytes")
    response = HTTPResponse(cast("socket.socket", _Received(bytes(data))))
    try:
        response.begin()
        body = response.read()
    except (HTTPException, ValueError) as error:
        raise OSError(f"the answer is no HTTP: {error!r}") from error
    if response.status == 401:
        raise PermissionError("it asks for a password")
    if response.status != 200:
        raise OSError(f"the answer is {response.status} {response.reason}")
    return body


def _is_whole(data: bytearray) -> bool:
    """Whether all has come that the headers promise: not every plug hangs up."""
    head, end, body = data.partition(b"\r\n\r\n")
    promised = _LENGTH.search(head) if end else None
    return promised is not None and len(body) >= int(promised[1])


def _receive(connection: socket.socket, end_s: float) -> bytes:
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("it did not answer in time")
    connection.settimeout(left_s)
    return connection.recv(_MOST_BYTES)
