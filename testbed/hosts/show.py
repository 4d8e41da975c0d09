"""Shows what happens on many hosts: a table that moves on a terminal, else a line a step."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from slfac.wire.errors import SlfacError

_STYLES = {"doing": "", "done": "green", "failed": "red"}


class Show:
    """Shows how far each host is.

    Args:
        console: Where to.
        names: The hosts' names.
        quiet: Whether to say only what fails.

    Attributes:
        errors: What failed, by host, in the order in which it did.
    """

    def __init__(self, console: Console, names: Sequence[str], *, quiet: bool = False) -> None:
        self.errors: dict[str, SlfacError] = {}
        self._console = console
        self._quiet = quiet
        self._moves = console.is_terminal and not quiet
        self._width = max(map(len, names))
        self._rows = dict.fromkeys(names, ("doing", "waiting"))
        self._live = Live(console=console, transient=True, get_renderable=self._table)

    def __enter__(self) -> Show:
        self.go_on()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Leave the terminal to somebody else for a while."""
        if self._moves:
            self._live.stop()

    def go_on(self) -> None:
        """Show the table again."""
        if self._moves:
            self._live.start()

    def step(self, name: str, what: str) -> None:
        """Say what a host is doing.

        Args:
            name: The host.
            what: What.
        """
        before = self._rows[name]
        self._rows[name] = "doing", what
        if not self._moves and before != self._rows[name]:
            self.line(name, what)

    def progress(self, name: str, what: str, share: float) -> None:
        """Say how far a host is; only a terminal shows it.

        Args:
            name: The host.
            what: What it is doing.
            share: How much of it is done.
        """
        self._rows[name] = "doing", f"{what} {share:4.0%}"

    def done(self, name: str, what: str) -> None:
        """Say that a host is ready.

        Args:
            name: The host.
            what: What there is to say of it.
        """
        self._rows[name] = "done", what
        self.line(name, what)

    def failed(self, name: str, error: SlfacError) -> None:
        """Say that a host cannot be used.

        Args:
            name: The host.
            error: Why.
        """
        self.errors[name] = error
        self._rows[name] = "failed", str(error).removeprefix(f"{name}: ")
        self.say(self._line(name, self._rows[name][1]))

    def line(self, name: str, what: str) -> None:
        """Print a line about a host.

        Args:
            name: The host.
            what: What to say.
        """
        if not self._quiet:
            self.say(self._line(name, what))

    def _line(self, name: str, what: str) -> str:
        return f"{name:<{self._width}}  {what}"

    def say(self, text: str) -> None:
        """Print a line.

        Args:
            text: The line.
        """
        self._console.print(Text(" ".join(text.split("\n"))), soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, (state, what) in self._rows.items():
            table.add_row(name, Text(what, style=_STYLES[state], overflow="ellipsis", no_wrap=True))
        return table
