"""Units are suffixes of field names; this is what each of them means and may hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A unit.

    Attributes:
        name: As people write it.
        most: No board of this world has more; what has, is in another unit.
        signed: Whether figures may be below zero.
        positive: Whether zero is no figure either: nothing computes at zero FLOP a second.
        whole: Whether figures are whole numbers.
    """

    name: str
    most: float
    signed: bool = False
    positive: bool = False
    whole: bool = False


# The longest suffix that fits decides.
_SUFFIXES = {
    "offset_w": Unit("W", 1000, signed=True),
    "_w": Unit("W", 5000),
    "_j_per_mb": Unit("J/MB", 1e4),
    "j_per_frame": Unit("J/frame", 1000),
    "_mhz": Unit("MHz", 1e4, positive=True),
    "_hz": Unit("Hz", 1e6, positive=True),
    "_mib": Unit("MiB", 1e8, positive=True),
    "_gbs": Unit("GB/s", 1e5, positive=True),
    "gbs": Unit("GB/s", 1e5, positive=True),
    "_mbs": Unit("MB/s", 1e6, positive=True),
    "_mbits": Unit("Mbit/s", 1e6, positive=True),
    "gflops": Unit("GFLOP/s", 1e7, positive=True),
    "gflop": Unit("GFLOP", 1e9, positive=True),
    "_ms": Unit("ms", 3.6e6),
    "cores": Unit("", 4096, positive=True, whole=True),
    "gain": Unit("", 100, positive=True),
    "spread": Unit("", 1000),
    "per_weight": Unit("B/B", 1000),
    "per_residual": Unit("B/B", 1000),
}


def unit_of(field: str) -> Unit:
    """The unit of a field.

    Args:
        field: Its name, such as ``idle_w``; tables before it are passed over.

    Raises:
        KeyError: No suffix fits: the schema has no such field.
    """
    name = field.rpartition(".")[2]
    return _SUFFIXES[max((suffix for suffix in _SUFFIXES if name.endswith(suffix)), key=len)]
