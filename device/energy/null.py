"""No sensor: times are known, joules are not."""

from __future__ import annotations

from slfac.device.energy.base import PowerSensor, Sample, SensorInfo
from slfac.device.energy.host import Host


class NullSensor(PowerSensor):
    """Gives no power and no energy, ever.

    Args:
        host: Its clock is taken.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(SensorInfo("none", "none", None, "nothing", (), (), "nowhere"))
        self._host = host

    def read(self) -> Sample:
        """A sample without a power."""
        now_ns = self._host.clock()
        return Sample(t0_ns=now_ns, t1_ns=now_ns, power_w=None)
