"""smbus2 itself, which the extra ``i2c`` installs."""

import inspect

import pytest
import smbus2

from slfac.device.energy import Host, open_sensor, sensor_settings
from slfac.device.energy.host import Bus
from slfac.wire.errors import SensorError


def test_its_buses_are_what_drivers_expect():
    wanted = inspect.signature(Bus.read_i2c_block_data).parameters
    given = inspect.signature(smbus2.SMBus.read_i2c_block_data).parameters
    assert list(given)[: len(wanted)] == list(wanted)


def test_a_bus_that_is_not_there_is_said(tmp_path):
    settings = sensor_settings(i2c_chip="ina260", i2c_bus=250)
    with pytest.raises(SensorError, match="/dev/i2c-250 at 0x40 cannot be read: No such file"):
        open_sensor(Host(tmp_path), settings)
