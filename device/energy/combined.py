"""Several sensors that measure parts of one whole, added up."""

from __future__ import annotations

from collections.abc import Sequence

from slfac.device.energy.base import PowerSensor, Sample, SensorInfo
from slfac.wire.errors import SettingsError


class SumSensor(PowerSensor):
    """Reads sensors one after the other and adds them up, such as two supplies of one board.

    Args:
        sensors: At least two, of the same scope.

    Raises:
        SettingsError: They measure different scopes, of which one may hold the other; they are
            of different kinds, which measure the same; or one of them is named twice.
    """

    def __init__(self, sensors: Sequence[PowerSensor]) -> None:
        infos = [sensor.info for sensor in sensors]
        names = ",".join(info.name for info in infos)
        if len({info.scope for info in infos}) > 1:
            scopes = ", ".join(f"{info.name} the {info.scope}" for info in infos)
            raise SettingsError(
                f"setting sensor is {names!r}: they measure different things ({scopes}) and cannot "
                "be added up",
                "name one, or several of one scope",
            )
        if len({info.kind for info in infos}) > 1:
            raise SettingsError(
                f"setting sensor is {names!r}: each measures the whole {infos[0].scope}, so that "
                "their sum counts it more than once",
                "name one, or several of one kind that measure parts",
            )
        if len({info.name for info in infos}) < len(infos):
            raise SettingsError(f"setting sensor is {names!r}: one is named twice", "name it once")
        super().__init__(_joined(infos, names))
        self._sensors = sensors

    def read(self) -> Sample:
        """Read all once; without all powers there is no power, nor energy without all.

        Raises:
            SensorError: One of them cannot be read.
        """
        samples = {sensor.info.name: sensor.read() for sensor in self._sensors}
        powers = [sample.power_w for sample in samples.values()]
        energies = [sample.energy_j for sample in samples.values()]
        known_w = [power for power in powers if power is not None]
        known_j = [energy for energy in energies if energy is not None]
        return Sample(
            t0_ns=min(sample.t0_ns for sample in samples.values()),
            t1_ns=max(sample.t1_ns for sample in samples.values()),
            power_w=sum(known_w) if len(known_w) == len(powers) else None,
            rails_w={
                f"{name}/{rail}": watts
                for name, sample in samples.items()
                for rail, watts in sample.rails_w.items()
            },
            energy_j=sum(known_j) if len(known_j) == len(energies) else None,
        )

    def close(self) -> None:
        """Close all of them."""
        for sensor in self._sensors:
            sensor.close()


def _joined(infos: Sequence[SensorInfo], names: str) -> SensorInfo:
    steps = [info.lsb_w for info in infos if info.lsb_w is not None]
    rates = [info.max_hz for info in infos if info.max_hz is not None]
    return SensorInfo(
        name=names,
        kind="sum",
        scope=infos[0].scope,
        gives="energy" if all(info.gives == "energy" for info in infos) else "power",
        rails=tuple(f"{info.name}/{rail}" for info in infos for rail in info.rails),
        total=tuple(f"{info.name}/{rail}" for info in infos for rail in info.total),
        place=", ".join(info.place for info in infos),
        lsb_w=max(steps) if len(steps) == len(infos) else None,
        max_hz=min(rates) if len(rates) == len(infos) else None,
        window_ms=max(info.window_ms for info in infos),
        most_w=sum(info.most_w for info in infos),
        note="; ".join(info.note for info in infos if info.note),
    )
