"""Devices as coroutines: each runs the code of a board on a thread, one of them at a time.

A board's code waits where it wants an answer. Here such a wait hands the turn to another device,
always in the order of their indices, so that a run repeats itself; and what is asked for is done
on one thread for all devices at once, as soon as none of them can go on without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
# Does a piece of work for several devices; an exception in place of a result is that device's.
Work: TypeAlias = Callable[[list[Any]], list[Any]]


@dataclass(frozen=True)
class _Task:
    """What a device wants to have done.

    Attributes:
        work: Does it.
        argument: What for.
    """

    work: Work
    argument: Any


@dataclass(frozen=True)
class _Result:
    """What came of a task: a value, or the reason why there is none."""

    value: Any = None
    error: Exception | None = None


class _Ended(BaseException):
    """Unwinds the thread of a device that is not to go on."""


@dataclass
class Actor:
    """One device's thread, and whose turn it is.

    Args:
        name: Name of the device.
        life: What it does; it ends with it.

    Attributes:
        failure: What ended its life, where that was an error.
    """

    name: str
    life: Callable[[Actor], None]
    failure: BaseException | None = None
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _running: bool = False
    _over: bool = False
    _ending: bool = False
    _wants: _Task | Callable[[], bool] | None = None
    _given: _Result = field(default_factory=_Result)
    _thread: threading.Thread | None = None

    def do(self, work: Work, argument: Any) -> Any:
        """Have something done; called on the device's own thread.

        Args:
            work: Does it, for all devices that want the same.
            argument: What this device wants it for.

        Raises:
            Exception: Whatever came of it for this device.
        """
        return self._yield(_Task(work, argument))

    def run(self, call: Callable[[], T]) -> T:
        """Have a function called where torch's threads are; called on the device's own thread.

        Args:
            call: The function.
        """
        result: T = self._yield(_Task(_each, call))
        return result

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait until something has come; called on the device's own thread.

        Args:
            ready: Whether it has.
        """
        while not ready():
            self._yield(ready)

    @property
    def wants(self) -> _Task | None:
        """What it wants to have done before it can go on."""
        return self._wants if isinstance(self._wants, _Task) else None

    @property
    def can_go_on(self) -> bool:
        """Whether it waits for nothing that has not come."""
        return not self._over and (self._wants is None or (callable(self._wants) and self._wants()))

    def go_on(self, given: _Result | None = None) -> None:
        """Let it go on until it waits, or is over; called by the stage.

        Args:
            given: What came of its task.
        """
        with self._turn:
            self._given, self._wants, self._running = given or _Result(), None, True
            if self._thread is None:
                name = f"slfac-{self.name}"
                self._thread = threading.Thread(target=self._live, name=name, daemon=True)
                self._thread.start()
            self._turn.notify_all()
            self._turn.wait_for(lambda: not self._running)

    def end(self) -> None:
        """End its thread wherever it stands; called by the stage."""
        with self._turn:
            self._turn.wait_for(lambda: not self._running)
            self._ending = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _yield(self, wants: _Task | Callable[[], bool]) -> Any:
        with self._turn:
            if not self._ending:
                self._wants, self._running = wants, False
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._running or self._ending)
            if self._ending:
                raise _Ended
        if self._given.error is not None:
            raise self._given.error
        return self._given.value

    def _live(self) -> None:
        try:
            self.life(self)
        except _Ended:
            pass
        except BaseException as error:  # noqa: BLE001 - whoever waits for it must learn of it
            self.failure = error
        finally:
            with self._turn:
                self._over, self._running = True, False
                self._turn.notify_all()


class Stage:
    """Gives each device its turn, and does what they want to have done.

    Args:
        actors: The devices, by index.
    """

    def __init__(self, actors: Sequence[Actor]) -> None:
        self._actors = actors

    def play(self) -> bool:
        """Let the devices go on until each of them waits for something that has not come.

        Returns:
            Whether any of them went on.

        Raises:
            Exception: What a device failed with.
        """
        moved = False
        while True:
            able = [actor for actor in self._actors if actor.can_go_on]
            for actor in able:
                self._turn(actor, None)
            wanting = [actor for actor in self._actors if actor.wants is not None]
            if not able and not wanting:
                return moved
            moved = True
            self._work(wanting)

    def close(self) -> None:
        """End all threads."""
        for actor in self._actors:
            actor.end()

    def _work(self, wanting: Sequence[Actor]) -> None:
        """Do all that is wanted, what is alike together, and let each device go on with it."""
        alike: dict[Work, list[tuple[Actor, Any]]] = {}
        for actor in wanting:
            if actor.wants is not None:
                alike.setdefault(actor.wants.work, []).append((actor, actor.wants.argument))
        results: dict[str, _Result] = {}
        for work, asked in alike.items():
            values = work([argument for _, argument in asked])
            for (actor, _), value in zip(asked, values, strict=True):
                failed = isinstance(value, Exception)
                results[actor.name] = _Result(error=value) if failed else _Result(value)
        for actor in wanting:
            self._turn(actor, results[actor.name])

    @staticmethod
    def _turn(actor: Actor, given: _Result | None) -> None:
        actor.go_on(given)
        if actor.failure is not None:
            raise actor.failure


def _each(calls: list[Callable[[], Any]]) -> list[Any]:
    return [outcome(call) for call in calls]


def outcome(call: Callable[[], Any]) -> Any:
    """What a function returns, or the exception that it raises.

    Args:
        call: The function.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - it is raised where the work was wanted
        return error
