"""What devices say they have spent, summed up by what their sensors measure.

A device tells what its process has spent so far, so that a number that comes twice counts once,
and one that was lost with a server's memory is in the next. What a process that was killed had
not told yet nobody knows: that round of the device is unknown, and its total is a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from slfac.wire.energy import SCOPES, known_joules
from slfac.wire.messages import Energy

# Time without readings that is worth a word.
_SHORTEST_S = 0.05


@dataclass
class Spent:
    """Energy of some time.

    Attributes:
        joules: Of the time that readings cover.
        covered_s: How long that is.
        missing_s: The rest, of which nothing is known.
    """

    joules: float = 0.0
    covered_s: float = 0.0
    missing_s: float = 0.0

    @property
    def known(self) -> float | None:
        """Its energy, if enough of it was seen."""
        return known_joules(self.joules, self.covered_s, self.missing_s)

    def add(self, other: Spent) -> None:
        """Add what was spent in other time.

        Args:
            other: That.
        """
        self.joules += other.joules
        self.covered_s += other.covered_s
        self.missing_s += other.missing_s


@dataclass(frozen=True)
class Gained:
    """What a device has spent between two times that it told.

    Attributes:
        scope: What its sensor measures.
        spent: That.
        joules: Its energy; None where that is unknown.
    """

    scope: str
    spent: Spent
    joules: float | None


@dataclass(frozen=True)
class ScopeEnergy:
    """Energy of several devices whose sensors measure the same.

    Attributes:
        joules: Of all of them.
        devices: How many they are.
        missing_s: Seconds of theirs without readings, which are not in it.
        lost: Processes of theirs of which nobody was told what they spent last, likewise.
    """

    joules: float
    devices: int
    missing_s: float = 0.0
    lost: int = 0

    @property
    def is_partial(self) -> bool:
        """Whether something is not in it that can be told from nothing."""
        return self.lost > 0 or self.missing_s >= _SHORTEST_S


@dataclass
class DeviceEnergy:
    """What one device has said.

    Attributes:
        spent: In the whole run, by what its sensor measures.
        meter: Number of the process that told last; None before one.
        told: What that process has told.
        open: Whether a process may have spent something that nobody was told.
        lost: How many have.
        steps: Steps that ``phases`` are the mean of.
        phases: Milliseconds, joules and interval of each phase, as the process told last.
    """

    spent: dict[str, Spent] = field(default_factory=dict)
    meter: int | None = None
    told: Spent = field(default_factory=Spent)
    open: bool = False
    lost: int = 0
    steps: int = 0
    phases: dict[str, tuple[float, float | None, float | None, float | None]] = field(
        default_factory=dict
    )

    def take(self, energy: Energy, *, last: bool = False) -> Gained:
        """Take in what a process tells.

        Args:
            energy: It.
            last: Whether the process ends with that.

        Returns:
            What is new in it: nothing where its numbers are less than they were.
        """
        lost = False
        if energy.meter != self.meter:
            lost = self.open
            self.lost += lost
            self.meter, self.told = energy.meter, Spent()
        self.open = not last
        now, before = _counted(energy), self.told
        gained = Spent(
            now.joules - before.joules,
            now.covered_s - before.covered_s,
            now.missing_s - before.missing_s,
        )
        if min(gained.joules, gained.covered_s, gained.missing_s) < 0:
            return Gained(energy.scope, Spent(), None)
        self.told = now
        self.spent.setdefault(energy.scope, Spent()).add(gained)
        if energy.phases:
            self.steps = energy.steps
            self.phases = {
                one.phase: (one.ms, one.joules, one.low, one.high) for one in energy.phases
            }
        return Gained(energy.scope, gained, None if lost else gained.known)

    @property
    def seen(self) -> dict[str, Spent]:
        """What it has spent, without what readings cover nothing of."""
        return {scope: spent for scope, spent in self.spent.items() if spent.covered_s > 0}

    def gone(self) -> None:
        """Take note that its process may have ended without a word."""
        self.open = True


class RoundEnergies:
    """What the devices of a round have spent in it."""

    def __init__(self) -> None:
        self._gained: dict[tuple[str, str], Spent] = {}
        self._unknown: set[str] = set()
        self._silent: set[str] = set()

    def add(self, device: str, gained: Gained) -> None:
        """Take in what a device has spent.

        Args:
            device: Its name.
            gained: That.
        """
        self._silent.discard(device)
        self._gained.setdefault((device, gained.scope), Spent()).add(gained.spent)
        if gained.joules is None:
            self._unknown.add(device)

    def miss(self, device: str) -> None:
        """Take note that a device may have spent something that nobody was told.

        If it is still the same process, it says so when it tells something again.

        Args:
            device: Its name.
        """
        self._silent.add(device)

    def close(self, devices: Iterable[str]) -> tuple[dict[str, ScopeEnergy], int]:
        """End the round.

        Args:
            devices: Names of those whose fronts went into it.

        Returns:
            Sums by scope over devices of which it is known, and how many of the round's it is
            not known of.
        """
        missed = self._unknown | self._silent
        known = {key: spent for key, spent in self._gained.items() if key[0] not in missed}
        sums = {
            scope: _together([s for (_, of), s in known.items() if of == scope]) for scope in SCOPES
        }
        unknown = {*devices, *missed} - {device for device, _ in known}
        self._gained.clear()
        self._unknown.clear()
        self._silent.clear()
        return {scope: found for scope, found in sums.items() if found.devices}, len(unknown)


def total_energies(devices: Iterable[DeviceEnergy], *, ended: bool) -> dict[str, ScopeEnergy]:
    """Sums over a run, by scope.

    Args:
        devices: What each device has said.
        ended: Whether nothing more will be told: what still may have been spent is lost then.
    """
    devices = list(devices)
    sums: dict[str, ScopeEnergy] = {}
    for scope in SCOPES:
        told = [one for one in devices if scope in one.seen]
        lost = sum(one.lost + (ended and one.open) for one in told)
        found = _together([one.spent[scope] for one in told], lost)
        if found.devices:
            sums[scope] = found
    return sums


def energy_words(energies: dict[str, ScopeEnergy], unknown: int = 0) -> str:
    """Energy for people, such as ``812 J (module, 2 devices), 1 unknown``; empty without any.

    Args:
        energies: Sums by scope; they are listed, and never added up.
        unknown: Devices that are in none of them.
    """
    if not energies:
        return ""
    sums = ", ".join(
        f"{'at least ' if one.is_partial else ''}{joules_words(one.joules)} "
        f"({scope}, {one.devices} device{'s' if one.devices > 1 else ''})"
        for scope, one in energies.items()
    )
    return sums + (f", {unknown} unknown" if unknown else "")


def joules_words(joules: float) -> str:
    """An energy for people.

    Args:
        joules: It.
    """
    return f"{joules:.3g} J" if joules < 999.5 else f"{joules / 1e3:.4g} kJ"


def _counted(energy: Energy) -> Spent:
    if energy.joules is None:
        return Spent(0.0, 0.0, energy.missing_s + energy.covered_s)
    return Spent(energy.joules, energy.covered_s, energy.missing_s)


def _together(spent: list[Spent], lost: int = 0) -> ScopeEnergy:
    return ScopeEnergy(
        joules=sum(one.joules for one in spent),
        devices=len(spent),
        missing_s=sum(one.missing_s for one in spent),
        lost=lost,
    )
