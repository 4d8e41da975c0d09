"""Which devices the run counts, and their indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slfac.wire.errors import KeyFileError, SettingsError


@dataclass(frozen=True)
class Roster:
    """The run's devices, in the order of their indices.

    The order is fixed for the run and independent of who connects when: sums and
    concatenations follow it, so that a run can be repeated bit for bit.

    Attributes:
        names: Name of device 0, 1, ...
    """

    names: tuple[str, ...]

    def index(self, name: str) -> int:
        """Index of a device of the run.

        Args:
            name: Its enrolled name.
        """
        return self.names.index(name)

    def __len__(self) -> int:
        return len(self.names)

    def outside(self, enrolled: Sequence[str] | None) -> tuple[int, ...]:
        """Indices of the devices that are enrolled no more.

        Args:
            enrolled: Names on the allow-list; None without keys.

        Raises:
            KeyFileError: That is all of them.
        """
        if enrolled is None:
            return ()
        gone = tuple(i for i, name in enumerate(self.names) if name not in enrolled)
        if len(gone) == len(self.names):
            raise KeyFileError(
                f"none of the run's devices is enrolled any more: {', '.join(self.names)}",
                "`slfac keys enroll NAME FILE` lets one in",
            )
        return gone


def make_roster(wanted: Sequence[str], enrolled: Sequence[str] | None) -> Roster:
    """The run's devices from the settings and the allow-list.

    Args:
        wanted: Names in the settings; empty means every enrolled device.
        enrolled: Names on the allow-list, in order; None without keys.

    Returns:
        The roster.

    Raises:
        KeyFileError: No device is enrolled.
        SettingsError: A wanted device is not enrolled, or named twice.
    """
    names = tuple(wanted) or tuple(enrolled or ())
    if not names:
        raise KeyFileError("no device is enrolled", "`slfac keys enroll NAME FILE` lets one in")
    if len(set(names)) < len(names):
        raise SettingsError(f"setting devices names a device twice: {', '.join(names)}")
    unknown = sorted(set(names) - set(enrolled if enrolled is not None else names))
    if unknown:
        raise SettingsError(
            f"setting devices names {unknown[0]!r}, which is not enrolled",
            f"`slfac keys enroll {unknown[0]} FILE` lets it in",
        )
    return Roster(names)
