"""Measures the energy of a device's run, and gives an account of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from slfac.device.energy.conditions import read_conditions
from slfac.device.energy.host import Host, host_at
from slfac.device.energy.outcome import RunEnergy
from slfac.device.energy.report import write_report
from slfac.device.energy.reporting import make_report
from slfac.device.energy.settings import sensor_settings
from slfac.device.energy.watch import EnergyWatch
from slfac.device.energy.words import spent_words
from slfac.device.settings import DeviceSettings
from slfac.wire.errors import SettingsError
from slfac.wire.messages import Welcome


class Measuring:
    """Measures one run.

    Args:
        settings: The device's.
        on_status: Told what people should know.
        host: Where sensors are looked for; None for this machine.

    Attributes:
        watch: What measures.

    Raises:
        SettingsError: The settings name no sensor that there is, or the report's file cannot
            be written.
        SensorError: A sensor that they name cannot be read.
    """

    def __init__(
        self, settings: DeviceSettings, on_status: Callable[[str], None], host: Host | None
    ) -> None:
        self._host = host or host_at(Path("/"))
        self._path = settings.energy_report
        if self._path is not None and not os.access(self._path.absolute().parent, os.W_OK):
            raise SettingsError(
                f"setting energy_report is {str(self._path)!r}, whose folder cannot be written",
                "name a file in another one",
            )
        self._before = read_conditions(self._host)
        self.watch = EnergyWatch(sensor_settings(**settings.sensors), on_status, self._host)

    def last_round(self) -> str:
        """What to say of the last round's energy; nothing without a sensor."""
        spent = self.watch.last_round()
        scope = self.watch.scope
        return f", {spent_words(spent, scope)}" if spent is not None and scope is not None else ""

    def finish(self, welcome: Welcome) -> RunEnergy:
        """End the measurement, and write the report where one is wanted.

        Args:
            welcome: What the server said about the run.

        Raises:
            SettingsError: The report cannot be written.
        """
        energy = self.watch.finish()
        if self._path is not None:
            report = make_report(
                energy,
                run=welcome.run,
                device=welcome.device,
                bundle=welcome.bundle,
                before=self._before,
                after=read_conditions(self._host),
            )
            write_report(report, self._path)
        return energy
