"""Chips of the kernel's hwmon interface, found by name and address, never by hwmonN.

Units of its files: ``in`` mV, ``curr`` mA, ``power`` uW, ``energy`` uJ (the kernel's
``Documentation/hwmon/sysfs-interface.rst``). A chip gets another number when a driver is loaded
again; its folder below the bus stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slfac.device.energy.host import Host, is_gone, unreadable
from slfac.wire.errors import SensorError

_PLACES: Final = ("sys/class/hwmon/hwmon*", "sys/bus/i2c/drivers/*/*/hwmon/hwmon*")
_LABELS: Final = "in[0-9]*_label"
PERMIT: Final = (
    "let this user read it: sudo chmod a+r {place}, at each start of the machine "
    "(docs/energy.md, permissions)"
)


@dataclass(frozen=True)
class Chip:
    """A chip as it was found.

    Attributes:
        name: What its driver calls it, such as ``ina3221``.
        address: Its folder on the bus, such as ``1-0040``; empty where the tree does not say.
        folder: Where its files are now.
        labels: Labels of its voltages, by channel.
    """

    name: str
    address: str
    folder: Path
    labels: tuple[tuple[int, str], ...] = ()

    def same_as(self, other: Chip) -> bool:
        """Whether the other is this chip, under whatever number.

        Args:
            other: A chip that was found later.
        """
        return (self.name, self.address, self.labels) == (other.name, other.address, other.labels)


def find_chips(host: Host) -> list[Chip]:
    """All chips, in an order that does not depend on their numbers.

    Args:
        host: Where to look.
    """
    chips = {}
    for place in _PLACES:
        for link in host.root.glob(place):
            chip = _look(host, link)
            if chip is not None:
                chips[chip.folder] = chip
    return sorted(chips.values(), key=lambda chip: (chip.name, chip.address, chip.labels))


def _look(host: Host, link: Path) -> Chip | None:
    name = host.text(link / "name")
    if not name:
        return None
    try:
        folder = link.resolve()
        device = folder / "device"
        address = device.resolve().name if device.exists() else ""
        found = sorted(folder.glob(_LABELS))
    except (OSError, RuntimeError):  # a loop of links
        return None
    labels = [
        (int(path.name[2:-6]), host.text(path)) for path in found if path.name[2:-6].isdigit()
    ]
    return Chip(name, address, folder, tuple((n, label) for n, label in labels if label))


class ChipFiles:
    """Reads files of one chip, and finds the chip again when its number changes.

    Args:
        host: Where to look.
        chip: The chip.
    """

    def __init__(self, host: Host, chip: Chip) -> None:
        self._host = host
        self._chip = chip

    @property
    def chip(self) -> Chip:
        """The chip, where it was last."""
        return self._chip

    def __contains__(self, file: str) -> bool:
        return (self._chip.folder / file).exists()

    def text(self, file: str) -> str | None:
        """What a file holds; None if it cannot be read.

        Args:
            file: Its name.
        """
        return self._host.text(self._chip.folder / file)

    def value(self, file: str) -> int:
        """The number that a file holds.

        Args:
            file: Its name, such as ``power1_input``.

        Raises:
            SensorError: The chip is gone, does not answer, or may not be read.
        """
        try:
            if self._is_another():
                self._find_again()
            return self._host.integer(self._chip.folder / file)
        except OSError as error:
            if not is_gone(error):
                raise self._failed(file, error) from error
        self._find_again()
        try:
            return self._host.integer(self._chip.folder / file)
        except OSError as error:
            raise self._failed(file, error) from error

    def _is_another(self) -> bool:
        """Whether another chip has this one's number: only a place on a bus is its own."""
        if self._chip.address:
            return False
        now = _look(self._host, self._chip.folder)
        return now is None or not self._chip.same_as(now)

    def _find_again(self) -> None:
        found = [chip for chip in find_chips(self._host) if self._chip.same_as(chip)]
        if len(found) != 1:
            raise SensorError(
                f"chip {self._chip.name} {self._chip.address or self._chip.folder} has gone",
                "it is used again when it comes back: look at dmesg",
            )
        (self._chip,) = found

    def _failed(self, file: str, error: OSError) -> SensorError:
        place = self._chip.folder / file
        return unreadable(place, error, PERMIT.format(place=place))


def numbers(chip: Chip, kind: str, suffix: str = "input") -> Iterator[int]:
    """Numbers of a chip's channels of one kind.

    Args:
        chip: The chip.
        kind: Such as ``power``.
        suffix: Such as ``input``.

    Yields:
        The N of each ``<kind>N_<suffix>``, ascending.
    """
    end = f"_{suffix}"
    found = [path.name[len(kind) : -len(end)] for path in chip.folder.glob(f"{kind}*{end}")]
    yield from sorted(int(number) for number in found if number.isdigit())
