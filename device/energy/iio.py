"""INA3221 as NVIDIA's JetPack 4 shows it: an IIO device with rail names and powers in mW."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slfac.device.energy.host import Host, is_gone, unreadable
from slfac.wire.errors import SensorError

_PLACES: Final = ("sys/bus/i2c/drivers/ina3221x/*/iio:device*", "sys/bus/iio/devices/iio:device*")
_CHANNELS: Final = (0, 1, 2)
PERMIT: Final = (
    "let this user read it, at each start of the machine: sudo chmod a+r "
    "/sys/bus/i2c/drivers/ina3221x/*/iio:device*/*_input (docs/energy.md, permissions)"
)


@dataclass(frozen=True)
class IioChip:
    """A chip as it was found.

    Attributes:
        address: Its folder on the bus, such as ``6-0040``.
        folder: Where its files are now.
        rails: Names of its rails, by channel.
    """

    address: str
    folder: Path
    rails: tuple[tuple[int, str], ...]


def find_iio(host: Host) -> list[IioChip]:
    """All INA3221 with rail names, in the order of their addresses.

    Args:
        host: Where to look.
    """
    chips = {}
    for place in _PLACES:
        for link in host.root.glob(place):
            try:
                folder = link.resolve()
            except (OSError, RuntimeError):  # a loop of links
                continue
            found = ((n, host.text(folder / f"rail_name_{n}")) for n in _CHANNELS)
            rails = tuple((n, rail) for n, rail in found if rail)
            if rails:
                chips[folder] = IioChip(folder.parent.name, folder, rails)
    return sorted(chips.values(), key=lambda chip: (chip.address, chip.rails))


class IioChannel:
    """One rail, which is found again when its device gets another number.

    Args:
        host: Where to look.
        chip: Its chip.
        channel: Its number there.
    """

    def __init__(self, host: Host, chip: IioChip, channel: int) -> None:
        self._host = host
        self._chip = chip
        self._channel = channel

    def milliwatts(self) -> int:
        """Its present power.

        Raises:
            SensorError: It cannot be read.
        """
        try:
            return self._read()
        except OSError as error:
            if not is_gone(error):
                raise self._failed(error) from error
        self._find_again()
        try:
            return self._read()
        except OSError as error:
            raise self._failed(error) from error

    def _read(self) -> int:
        return self._host.integer(self._place)

    @property
    def _place(self) -> Path:
        return self._chip.folder / f"in_power{self._channel}_input"

    def _find_again(self) -> None:
        wanted = (self._chip.address, self._chip.rails)
        found = [chip for chip in find_iio(self._host) if (chip.address, chip.rails) == wanted]
        if len(found) != 1:
            raise SensorError(
                f"chip ina3221 {self._chip.address} has gone",
                "it is used again when it comes back: look at dmesg",
            )
        (self._chip,) = found

    def _failed(self, error: OSError) -> SensorError:
        return unreadable(self._place, error, PERMIT)
