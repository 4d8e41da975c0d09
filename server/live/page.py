"""The live page: a few files of this package, and the run's state as JSON."""

from __future__ import annotations

import importlib.resources
import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from email.message import Message

from slfac.server.live.document import document
from slfac.server.live.links import ReadLinks
from slfac.server.live.picture import Picture
from slfac.server.live.web import Answer, Route

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_EVERY_S = 0.4
# What a busy browser may take longer than it was told to.
_SLACK_S = 0.5
_POLL_MS = 1_000
_SLOWEST_POLL_MS = 10_000
# Of all browsers together, the page takes this many requests a second.
_POLLS_PER_S = 20


class Cached:
    """Bytes that are made anew at most every so often, however often they are asked for.

    Args:
        make: Makes them.
        every_s: How old they may be.
    """

    def __init__(self, make: Callable[[], bytes], every_s: float) -> None:
        self._make = make
        self._every_s = every_s
        self._lock = threading.Lock()
        self._made_s = -every_s
        self._bytes = b""

    def get(self) -> bytes:
        """The bytes."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._made_s >= self._every_s:
                self._bytes, self._made_s = self._make(), now_s
            return self._bytes


class Page:
    """The page of one picture.

    Args:
        picture: What it shows.
        read_links: Reads the sockets' counts; None where they are out of reach.
    """

    def __init__(self, picture: Picture, read_links: ReadLinks | None) -> None:
        self._picture = picture
        self._read_links = read_links
        self._state = Cached(self._write_state, _EVERY_S)
        self._asked = 0
        self._asked_at_s = -math.inf
        self._poll_ms = _POLL_MS
        self._written_s = time.monotonic()

    def routes(self) -> Mapping[str, Route]:
        """What answers, by path."""
        routes: dict[str, Route] = {"/state.json": self._on_state}
        for file in (importlib.resources.files("slfac.server.live") / "assets").iterdir():
            kind = _KINDS[f".{file.name.rpartition('.')[2]}"]
            routes[f"/{file.name}"] = _always(Answer(kind, file.read_bytes()))
        routes["/"] = routes.pop("/index.html")
        return routes

    def watched_s(self) -> float:
        """For how long browsers must be waited for so that they see the end; 0 without any."""
        pause_s = self._poll_ms / 1e3
        watched = time.monotonic() - self._asked_at_s < 2 * pause_s + _SLACK_S
        return pause_s + _EVERY_S + _SLACK_S if watched else 0.0

    def _on_state(self, _: Message) -> Answer:
        # Two threads may count as one: the number only sets the pace.
        self._asked += 1
        self._asked_at_s = time.monotonic()
        return Answer("application/json", self._state.get())

    def _write_state(self) -> bytes:
        now_s = time.monotonic()
        per_s = self._asked / max(now_s - self._written_s, _EVERY_S)
        self._asked, self._written_s = 0, now_s
        # As many as are watching would come this often: the more, the less often each.
        wanted_ms = self._poll_ms * per_s / _POLLS_PER_S
        paced_ms = (self._poll_ms + max(wanted_ms, _POLL_MS)) / 2
        self._poll_ms = int(min(max(paced_ms, _POLL_MS), _SLOWEST_POLL_MS))
        links = self._read_links() if self._read_links is not None else None
        values = {"poll_ms": self._poll_ms, **document(self._picture, links, now_s)}
        return json.dumps(values, allow_nan=False, separators=(",", ":")).encode()


def _always(answer: Answer) -> Route:
    return lambda _: answer
