"""Blocks of sending and receiving, in random order, with idleness between them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from slfac.device.profiling.link.client import Direction, Moved, PeerLink
from slfac.device.profiling.link.counts import Counts
from slfac.device.profiling.link.measure import LEAST_REPETITIONS
from slfac.wire.errors import LinkError, SettingsError
from slfac.wire.frame import MAX_BODY_BYTES

_MOST_FAILED: Final = 5
_SMALL_BYTES: Final = 64
# Header, framing and encryption included, it still fits into one packet.
_PACKET_BYTES: Final = 1200
_NOTHING: Final = Counts(0, 0, 0)


@dataclass(frozen=True)
class BlockKind:
    """One way to use the link.

    Attributes:
        direction: ``up`` or ``down``.
        body_bytes: Of each message.
        gap_s: From one message to the next; 0 for as fast as the link takes them.
    """

    direction: Direction
    body_bytes: int
    gap_s: float

    def __str__(self) -> str:
        """Such as ``send 64 bytes 200 times a second``."""
        verb = "send" if self.direction == "up" else "receive"
        often = f"{1 / self.gap_s:g} times a second" if self.gap_s else "as fast as it can"
        return f"{verb} {self.body_bytes} bytes {often}"


# Bytes and packets of a message differ from shape to shape, and rates from one to another, so that
# what a byte, a packet and being awake cost show apart.
_SHAPES: Final = (
    (MAX_BODY_BYTES, 0.0),
    (_PACKET_BYTES, 0.005),
    (_SMALL_BYTES, 0.002),
    (_SMALL_BYTES, 0.04),
)
KINDS: Final = tuple(
    BlockKind(direction, body_bytes, gap_s)
    for direction in ("up", "down")
    for body_bytes, gap_s in _SHAPES
)


@dataclass(frozen=True)
class BlockPlan:
    """What is sent and received, and for how long.

    Attributes:
        kinds: Each is measured as often as the others.
        repetitions: How often, at least five.
        block_s: How long a block lasts.
        idle_s: Idleness between two of them that is measured.
        settle_s: What is left for a radio to fall asleep and for a sensor to follow, before.
        seed: Of the order; each repetition has its own.
    """

    kinds: tuple[BlockKind, ...] = KINDS
    repetitions: int = LEAST_REPETITIONS
    block_s: float = 6.0
    idle_s: float = 3.0
    settle_s: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            SettingsError: A setting is out of range.
        """
        if not LEAST_REPETITIONS <= self.repetitions <= 1000:
            raise SettingsError(
                f"repetitions is {self.repetitions}",
                f"give {LEAST_REPETITIONS} to 1000: intervals need them",
            )
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed is {self.seed}", "give 0 to 4294967295")
        for name in ("block_s", "idle_s", "settle_s"):
            if not 0 < getattr(self, name) <= 600:
                raise SettingsError(f"{name} is {getattr(self, name):g}", "give up to 600 seconds")

    @property
    def seconds(self) -> float:
        """How long it takes, on a link that is not slow."""
        once = self.block_s + self.idle_s + self.settle_s
        return once * len(self.kinds) * self.repetitions + self.idle_s

    def order(self) -> list[int]:
        """Numbers of the kinds, in the order in which they are measured."""
        rng = random.Random(self.seed)  # noqa: S311 - an order, no secret
        order: list[int] = []
        for _ in range(self.repetitions):
            order += rng.sample(range(len(self.kinds)), len(self.kinds))
        return order


@dataclass(frozen=True)
class BlockRun:
    """What a block carried.

    Attributes:
        kind: Number of its kind in the plan.
        begin_s: On the clock of the sensor's readings.
        end_s: The same.
        sent: By this device.
        received: By this device.
        error: How the link broke; empty where it did not.
    """

    kind: int
    begin_s: float
    end_s: float
    sent: Counts
    received: Counts
    error: str = ""


class Traffic(Protocol):
    """What carries a block: a :class:`Reconnecting` link."""

    def stream(
        self, direction: Direction, body_bytes: int, duration_s: float, *, gap_s: float = 0.0
    ) -> Moved:
        """Send bodies for a while."""


class Reconnecting:
    """A link that is opened again after it broke; a context manager that hangs up.

    Args:
        connect: Opens it.
    """

    def __init__(self, connect: Callable[[], PeerLink]) -> None:
        self._connect = connect
        self._link: PeerLink | None = connect()

    def __enter__(self) -> Reconnecting:
        return self

    def __exit__(self, *ended: object) -> None:
        if self._link is not None:
            self._link.__exit__(*ended)

    def stream(
        self, direction: Direction, body_bytes: int, duration_s: float, *, gap_s: float = 0.0
    ) -> Moved:
        """Send bodies for a while, as :meth:`PeerLink.stream` does.

        Raises:
            LinkError: The link broke, or cannot be opened.
        """
        if self._link is None:
            self._link = self._connect()
        try:
            return self._link.stream(direction, body_bytes, duration_s, gap_s=gap_s)
        except LinkError:
            link, self._link = self._link, None
            with contextlib.suppress(LinkError):
                link.close()
            raise


def run_blocks(
    link: Traffic,
    plan: BlockPlan,
    *,
    clock: Callable[[], float],
    wait: Callable[[float], None],
    say: Callable[[str], None],
) -> list[BlockRun]:
    """Send and receive by a plan, idle before, between and after.

    Args:
        link: The link.
        plan: What is sent and received.
        clock: Seconds of the clock of the sensor's readings.
        wait: Waits for seconds.
        say: Told what is being done.

    Raises:
        LinkError: It broke five times running.
        SettingsError: The plan is out of range.
    """
    plan.check()
    order = plan.order()
    runs: list[BlockRun] = []
    failed = 0
    wait(plan.idle_s)
    for number, index in enumerate(order, 1):
        kind = plan.kinds[index]
        say(f"block {number} of {len(order)}: {kind}")
        begin_s = clock()
        try:
            moved = link.stream(kind.direction, kind.body_bytes, plan.block_s, gap_s=kind.gap_s)
        except LinkError as error:
            failed += 1
            if failed == _MOST_FAILED:
                raise
            runs.append(BlockRun(index, begin_s, clock(), _NOTHING, _NOTHING, error.what))
            say(f"the link broke: {error}")
        else:
            failed = 0
            run = BlockRun(index, moved.begin_s, moved.end_s, moved.sent, moved.received)
            runs.append(run)
        wait(plan.settle_s + plan.idle_s)
    return runs
