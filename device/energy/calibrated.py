"""A sensor whose readings were held against a meter: watts of the board, by gain and offset."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

from slfac.device.energy.base import PowerSensor, Sample, SensorInfo
from slfac.device.energy.settings import Calibration

_MARK: Final = ":calibrated"


class CalibratedSensor(PowerSensor):
    """Gives the power of the whole board where a sensor measures a part of it.

    Watts become ``gain * watts + offset_w``; joules likewise, the offset times the time since the
    first read that gave any. Rails stay as the sensor measures them.

    Args:
        sensor: What is read, and closed.
        calibration: What was fitted for such a sensor.
    """

    def __init__(self, sensor: PowerSensor, calibration: Calibration) -> None:
        super().__init__(_info(sensor.info, calibration))
        self._sensor = sensor
        self._gain = calibration.gain
        self._offset_w = calibration.offset_w
        self._first_ns: int | None = None

    def read(self) -> Sample:
        """Read the sensor once.

        Raises:
            SensorError: It cannot be read now, or gives what no board can draw.
        """
        sample = self._sensor.read()
        watts, joules = sample.power_w, sample.energy_j
        if joules is not None:
            if self._first_ns is None:
                self._first_ns = sample.t1_ns
            seconds = (sample.t1_ns - self._first_ns) * 1e-9
            joules = self._gain * joules + self._offset_w * seconds
        if watts is not None:
            watts = self._gain * watts + self._offset_w
        return dataclasses.replace(sample, power_w=watts, energy_j=joules)

    def close(self) -> None:
        """Close the sensor."""
        self._sensor.close()


def calibrated(sensor: PowerSensor, calibrations: Iterable[Calibration]) -> PowerSensor:
    """A sensor with the calibration that was made for such as it is; itself where none was.

    Args:
        sensor: The sensor.
        calibrations: What there is.
    """
    for calibration in calibrations:
        if not mismatch(sensor.info, calibration):
            return CalibratedSensor(sensor, calibration)
    return sensor


def mismatch(info: SensorInfo, calibration: Calibration) -> str:
    """Why a calibration is none of a sensor; empty if it is.

    Args:
        info: The sensor's.
        calibration: The calibration.
    """
    if info.kind != calibration.driver:
        return f"it is of {calibration.driver}"
    if info.scope != calibration.scope:
        return f"it is of the {calibration.scope}'s power, not the {info.scope}'s"
    if calibration.total and set(calibration.total) != set(info.total):
        return f"it is of {'+'.join(calibration.total)}, not {'+'.join(info.total)}"
    return ""


def plain_name(name: str) -> str:
    """The name of a sensor without the mark of a calibration.

    Args:
        name: Such as ``pi5:calibrated``.
    """
    return name.removesuffix(_MARK)


def _info(info: SensorInfo, calibration: Calibration) -> SensorInfo:
    gain, offset_w = calibration.gain, calibration.offset_w
    said = f"calibrated: {gain:g} x watts {offset_w:+g} W, by {calibration.source}"
    return dataclasses.replace(
        info,
        name=f"{info.name}{_MARK}",
        scope=calibration.gain_scope,
        lsb_w=None if info.lsb_w is None else gain * info.lsb_w,
        lsb_j=None if info.lsb_j is None else gain * info.lsb_j,
        most_w=gain * info.most_w + abs(offset_w),
        note=f"{info.note}; {said}" if info.note else said,
    )
