"""Who is in the run, who may come back to it, and who keeps the others waiting."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from slfac.server.events import Arrived
from slfac.wire.errors import ProtocolError

# A device that breaks down at the same step each time must not hold up the others for ever.
_MOST_RETURNS = 10


@dataclass(frozen=True)
class Overdue:
    """A member that is waited for no longer.

    Attributes:
        index: The device.
        session: Its session; None where it has none.
        reason: Why, for people.
    """

    index: int
    session: int | None
    reason: str


class Attendance:
    """The devices of a run, as the trainer knows them.

    Args:
        step_timeout_s: How long a device may keep the others waiting.

    Attributes:
        members: Devices in the present round.
        joining: Requests of those who will be in the next.
    """

    def __init__(self, step_timeout_s: float) -> None:
        self.members: set[int] = set()
        self.joining: dict[int, Arrived] = {}
        self._step_timeout_s = step_timeout_s
        # Members without a session that may go on, and until when they are waited for.
        self._away: dict[int, float] = {}
        # Who was answered and has not asked again: its session, and since when.
        self._owing: dict[int, tuple[int, float]] = {}
        # The last step that each asked for since it came, and how often it came without a new one.
        self._asked: dict[int, tuple[int, int]] = {}
        self._returns: dict[int, int] = {}

    def expect(self, members: Iterable[int], wait_s: float) -> None:
        """Wait for those who were in the run before this server was started again.

        Args:
            members: The devices.
            wait_s: How long.
        """
        self.members = set(members)
        self._away = dict.fromkeys(self.members, time.monotonic() + wait_s)

    def heard(self, index: int) -> None:
        """Take note that a device asked for something."""
        self._owing.pop(index, None)

    def answered(self, arrived: Arrived) -> None:
        """Take note that a request was answered: another is expected."""
        self._owing[arrived.index] = arrived.session, time.monotonic()

    def asks_step(self, index: int, step: int, part: int) -> None:
        """Take note that a device asks for a part of a step.

        Args:
            index: The device.
            step: Which, since it joined.
            part: Which part of it.

        Raises:
            ProtocolError: It asked for that one, or a later one, before.
        """
        before = self._asked.get(index, (-1, 0))
        if (step, part) <= before:
            # Asking for kept replies over and over, it would keep the others waiting for ever.
            raise ProtocolError(f"step {step} came after step {before[0]}")
        self._asked[index] = step, part

    def made_step(self, index: int) -> None:
        """Take note that a device made a step that is new."""
        self._returns.pop(index, None)

    def is_away(self, index: int) -> bool:
        """Whether a member has not been taken back since it, or the server, started again."""
        return index in self._away

    def take_back(self, index: int) -> None:
        """Let a device go on in the present round."""
        self.members.add(index)
        self._away.pop(index, None)
        self.joining.pop(index, None)

    def started_again(self, index: int) -> str | None:
        """Keep the place of a device that opened another session; its old requests are void.

        Args:
            index: The device.

        Returns:
            Why it is to be removed instead; None to wait for it.
        """
        for standing in (self.joining, self._owing, self._asked):
            standing.pop(index, None)
        if index not in self.members:
            return None
        self._returns[index] = self._returns.get(index, 0) + 1
        if self._returns[index] > _MOST_RETURNS:
            return f"it started {_MOST_RETURNS} times without making another step"
        # It is connected, but may have to load its data first.
        self._away[index] = time.monotonic() + self._step_timeout_s
        return None

    def overdue(self, *, others_wait: bool) -> Iterator[Overdue]:
        """Members who keep the others waiting for too long.

        Args:
            others_wait: Whether anyone has asked for something and was not answered.

        Yields:
            Who is to be removed.
        """
        limit_s, now_s = self._step_timeout_s, time.monotonic()
        for index, until_s in sorted(self._away.items()):
            if now_s > until_s:
                yield Overdue(index, None, "it did not come back")
        if not others_wait:
            return
        for index, (session, since_s) in sorted(self._owing.items()):
            if now_s - since_s > limit_s:
                what = f"no request for {limit_s:g} s while the others waited"
                yield Overdue(index, session, what)

    def admit(self) -> dict[int, Arrived]:
        """Make members of those who are joining.

        Returns:
            Their requests.
        """
        joining, self.joining = self.joining, {}
        self.members |= joining.keys()
        return joining

    def remove(self, index: int) -> bool:
        """Drop a device.

        Args:
            index: The device.

        Returns:
            Whether it was in the run, or about to be.
        """
        known = index in self.members or index in self.joining
        self.members.discard(index)
        for standing in (self.joining, self._owing, self._away, self._asked, self._returns):
            standing.pop(index, None)
        return known
