"""Sensors that give the present power of one or more rails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from slfac.device.energy.base import PowerSensor, Sample, SensorInfo, plausible
from slfac.device.energy.host import Host


class Rail(Protocol):
    """A supply line whose power can be read."""

    @property
    def label(self) -> str:
        """What it is called."""

    def watts(self) -> float:
        """Its present power, signed.

        Raises:
            SensorError: It cannot be read.
        """


class RailSensor(PowerSensor):
    """Reads rails one after the other and adds some of them up.

    Args:
        info: What it is; ``info.rails`` are those of ``rails``, in that order.
        rails: What is read.
        host: Its clock is taken.
    """

    def __init__(self, info: SensorInfo, rails: Sequence[Rail], host: Host) -> None:
        super().__init__(info)
        self._rails = rails
        self._host = host

    def read(self) -> Sample:
        """Read every rail once.

        Raises:
            SensorError: A rail cannot be read, or gives what no board can draw.
        """
        start_ns = self._host.clock()
        watts = {rail.label: plausible(self.info, rail.label, rail.watts()) for rail in self._rails}
        return Sample(
            t0_ns=start_ns - round(self.info.window_ms * 1e6),
            t1_ns=self._host.clock(),
            power_w=sum(watts[label] for label in self.info.total),
            rails_w=watts,
        )
