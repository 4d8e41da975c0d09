"""Everything that shows a run while it goes on."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slfac.server.live.address import parse_listen
from slfac.server.live.feed import Feed, Sink
from slfac.server.live.links import Links, ReadLinks
from slfac.server.live.page import Page
from slfac.server.live.picture import Picture
from slfac.server.live.tensorboard import TensorBoard, check_tensorboard
from slfac.server.live.web import Route, WebServer
from slfac.server.resume import Standing
from slfac.wire.errors import MissingExtraError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """What to show, and where.

    Attributes:
        page: ``[HOST:]PORT`` of the page; empty for none.
        prometheus: ``[HOST:]PORT`` of the metrics; empty for none.
        tensorboard: Folder for TensorBoard; None for none.
    """

    page: str = ""
    prometheus: str = ""
    tensorboard: Path | None = None


class Live:
    """Shows one run; :meth:`listen` is told its events.

    The sockets are bound when the object is made, so that a taken port is an error there.

    Args:
        shown: What to show.
        facts: Fields of the run's ``run`` event, as far as they are known.
        standing: Where the run was left, if it goes on.
        read_links: Reads the sockets' counts; None where they are out of reach.

    Attributes:
        places: Where each is to be found: URLs and a folder, by setting.

    Raises:
        AddressError: An address is taken, or not this machine's.
        MissingExtraError: A package that is asked for is not installed.
        SettingsError: An address is malformed.
    """

    def __init__(
        self,
        shown: Shown,
        *,
        facts: Mapping[str, Any] | None = None,
        standing: Standing | None = None,
        read_links: ReadLinks | None = None,
    ) -> None:
        self.places: dict[str, str] = {}
        self._shown = shown
        self._standing = standing
        self._picture = Picture()
        if facts is not None:
            self._picture.begin(dict(facts), time.monotonic())
        if standing is not None:
            self._picture.take_up(standing)
        self._page = Page(self._picture, read_links) if shown.page else None
        self._servers: list[WebServer] = []
        self._board: TensorBoard | None = None
        self._feed: Feed | None = None
        if shown.tensorboard is not None:
            check_tensorboard()
            self.places["tensorboard"] = str(shown.tensorboard)
        try:
            if self._page is not None:
                self._serve("page", shown.page, self._page.routes(), "/")
            if shown.prometheus:
                routes = _metrics_routes(self._picture, read_links or Links)
                self._serve("prometheus", shown.prometheus, routes, "/metrics")
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start to show.

        Raises:
            SettingsError: The folder for TensorBoard cannot be written.
        """
        sinks: dict[str, Sink] = {}
        if self._servers:
            sinks["the page"] = self._picture.take
        if self._shown.tensorboard is not None:
            self._board = _board(self._shown.tensorboard, self._standing)
            sinks["tensorboard"] = self._board.take
        for server in self._servers:
            server.start()
        if sinks:
            self._feed = Feed(sinks)
            self._feed.start()

    def listen(self, event: dict[str, Any]) -> None:
        """Take a metrics event; quick, and safe to call from the trainer.

        Args:
            event: The event, which nobody changes any more.
        """
        if self._feed is not None:
            self._feed.put(event)

    def close(self, failure: str = "") -> None:
        """Show how it ended to whoever is looking, then stop.

        Args:
            failure: The error that ended the run; empty for none.
        """
        wait_s = self._page.watched_s() if self._page is not None else 0.0
        if self._feed is not None:
            self._feed.close()
        if failure:
            self._picture.fail(failure, time.monotonic())
        time.sleep(wait_s)
        for server in self._servers:
            server.close()
        if self._board is not None:
            try:
                self._board.close()
            except OSError as error:
                _log.warning("tensorboard lacks its end: %s", error)

    def _serve(self, name: str, listen: str, routes: Mapping[str, Route], path: str) -> None:
        server = WebServer(parse_listen(listen), routes)
        self._servers.append(server)
        self.places[name] = f"http://{server.address}{path}"
        if not server.address.is_loopback:
            _log.warning("whoever reaches %s can read what is there: %s", server.address, name)


def _metrics_routes(picture: Picture, read_links: ReadLinks) -> Mapping[str, Route]:
    try:
        exposition = importlib.import_module("slfac.server.live.exposition")
    except ImportError as error:
        raise MissingExtraError(
            f"setting prometheus needs a package that is not installed: {error}",
            "pip install 'slfac[server]'",
        ) from error
    routes: Mapping[str, Route] = exposition.metrics_routes(picture, read_links)
    return routes


def _board(folder: Path, standing: Standing | None) -> TensorBoard:
    if standing is None:
        return TensorBoard(folder)
    steps = sum(totals.steps for totals in standing.totals.values())
    return TensorBoard(folder, goes_on=True, rounds=len(standing.rounds), steps=steps)
