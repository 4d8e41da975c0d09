"""Ways in which the kernel gives a rail's power: mV and mA, uW, or mW."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slfac.device.energy.hwmon import ChipFiles


@dataclass(frozen=True)
class VoltsAmperes:
    """A rail of hwmon that has a voltage and a current: mV times mA are uW.

    Attributes:
        label: What it is called.
        files: Its chip's.
        volts: Number of its ``in`` channel.
        amperes: Number of its ``curr`` channel.
    """

    label: str
    files: ChipFiles
    volts: int
    amperes: int

    def watts(self) -> float:
        """Its present power, signed as its current is.

        Raises:
            SensorError: It cannot be read.
        """
        microwatts = self.files.value(f"in{self.volts}_input") * self.files.value(
            f"curr{self.amperes}_input"
        )
        return microwatts / 1e6


@dataclass(frozen=True)
class Microwatts:
    """A rail of hwmon whose power the chip or its driver computes, in uW.

    Attributes:
        label: What it is called.
        files: Its chip's.
        file: ``power1_input`` or ``power1_average``.
        sign: Channel of a current that tells the direction; None if the power is signed itself.
    """

    label: str
    files: ChipFiles
    file: str
    sign: int | None = None

    def watts(self) -> float:
        """Its present power, signed.

        Raises:
            SensorError: It cannot be read.
        """
        watts = self.files.value(self.file) / 1e6
        # The power registers of the INA2xx have no sign, their currents do.
        if self.sign is not None and watts and self.files.value(f"curr{self.sign}_input") < 0:
            return -watts
        return watts


@dataclass(frozen=True)
class Milliwatts:
    """A rail of NVIDIA's IIO driver, which gives mW.

    Attributes:
        label: What it is called.
        milliwatts: Reads it.
    """

    label: str
    milliwatts: Callable[[], int]

    def watts(self) -> float:
        """Its present power, signed.

        Raises:
            SensorError: It cannot be read.
        """
        return self.milliwatts() / 1e3
