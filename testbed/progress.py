"""Shows a run on the terminal while it goes on."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_COLUMNS = "{task.fields[state]}"


class RunProgress:
    """A bar and one line a round; on a terminal the bar moves with every step.

    Args:
        console: Where to show it.
        label: What the run is called.
        rounds: Rounds it has.
        devices: Devices it has.
    """

    def __init__(self, console: Console, label: str, *, rounds: int, devices: int) -> None:
        self._console = console
        self._rounds = rounds
        self._devices = devices
        self._round = 0
        self._steps = 0
        self._steps_per_round = 0
        self._progress = Progress(
            TextColumn(f"[bold]{label}"),
            BarColumn(),
            TextColumn(_COLUMNS),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task(label, total=rounds, state="starting")

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def on_event(self, event: dict[str, Any]) -> None:
        """Take note of a metrics event.

        Args:
            event: The event.
        """
        kind = event["event"]
        if kind == "joined":
            self._update(f"{event['device']} joined")
        elif kind == "step":
            self._steps += 1
            self._update(f"round {event['round'] + 1}/{self._rounds}, loss {event['loss']:.3f}")
        elif kind == "left" and event["reason"] != "finished":
            self._console.print(f"{event['device']} left: {event['reason']}")
        elif kind == "round":
            self._finish_round(event)

    def _finish_round(self, event: dict[str, Any]) -> None:
        self._round = event["round"] + 1
        self._steps_per_round, self._steps = self._steps, 0
        self._update(f"round {self._round}/{self._rounds} done")
        self._console.print(
            f"  round {self._round:>2}/{self._rounds}  {_scored(event['accuracy'])}"
            f"loss {event['train_loss']:.4f}  {event['seconds']:4.1f} s  "
            f"{event['bytes_up'] / 1e6:6.2f} MB up {event['bytes_down'] / 1e6:6.2f} MB down",
            highlight=False,
        )

    def _update(self, state: str) -> None:
        part = min(self._steps / self._steps_per_round, 1.0) if self._steps_per_round else 0.0
        self._progress.update(self._task, completed=self._round + part, state=state)


def _scored(accuracy: float | None) -> str:
    return f"accuracy {accuracy:6.2%}  " if accuracy is not None else ""
