"""Meters on I2C without a kernel driver: registers as in the chips' datasheets."""

import errno
import os
import sys

import pytest

from harness.boards import Board
from slfac.device.energy import find_sensors, open_sensor, sensor_settings
from slfac.device.energy.host import Host, open_bus
from slfac.wire.errors import MissingExtraError, SensorError

pytestmark = pytest.mark.device

# 5 V and 0.374 A, in steps of each chip: what a register holds, highest byte first.
INA219 = {0x00: (0x399F, 2), 0x01: (3740, 2), 0x02: (1250 << 3, 2)}
INA226 = {
    0x00: (0x4127, 2),
    0x01: (14960, 2),
    0x02: (4000, 2),
    0xFE: (0x5449, 2),
    0xFF: (0x2260, 2),
}
INA260 = {0x00: (0x6127, 2), 0x01: (299, 2), 0x02: (4000, 2), 0xFE: (0x5449, 2), 0xFF: (0x2270, 2)}
INA228 = {
    0x00: (0x0000, 2),
    0x01: (0xFB68, 2),
    0x02: (0x1000, 2),
    0x09: (0, 5),
    0x3E: (0x5449, 2),
    0x3F: (0x2281, 2),
}
CHIPS = {"ina219": INA219, "ina226": INA226, "ina228": INA228, "ina260": INA260}
SHUNT = {"ina219": 0.1, "ina226": 0.1, "ina228": 0.015, "ina260": None}


class Bus:
    """An I2C bus with one chip."""

    def __init__(self, registers, address=0x40):
        self.registers = dict(registers)
        self.address = address
        self.error = 0
        self.closed = 0

    def read_i2c_block_data(self, i2c_addr, register, length):
        if self.error or i2c_addr != self.address:
            number = self.error or errno.EREMOTEIO
            raise OSError(number, os.strerror(number))
        value, size = self.registers[register]
        assert length == size
        return list(value.to_bytes(size, "big", signed=value < 0))

    def close(self):
        self.closed += 1


def wired(tmp_path, chip, **settings):
    board = Board(tmp_path)
    bus = board.buses[1] = Bus(CHIPS[chip])
    if SHUNT[chip] is not None:
        settings.setdefault("shunt_ohm", SHUNT[chip])
    return board, bus, sensor_settings(i2c_chip=chip, **settings)


@pytest.mark.parametrize(
    ("chip", "watts", "step_w", "window_ms"),
    [
        ("ina219", 1.87, 10e-6 / 0.1 * 5, 1.064),
        ("ina226", 1.87, 2.5e-6 / 0.1 * 5, 2.2),
        ("ina260", 299 * 1.25e-3 * 5, 1.25e-3 * 5, 2.2),
    ],
)
def test_volts_and_amperes_of_each_chip(chip, watts, step_w, window_ms, tmp_path):
    board, bus, settings = wired(tmp_path, chip)
    sensor = open_sensor(board.host, settings)
    assert sensor.info.name == "i2c@1-0040"
    assert (sensor.info.scope, sensor.info.gives) == ("board", "power")
    assert sensor.info.lsb_w == pytest.approx(step_w)
    assert sensor.info.window_ms == pytest.approx(window_ms)
    assert sensor.read().power_w == pytest.approx(watts)
    bus.registers[1] = (-8, 2)
    assert -0.06 < sensor.read().power_w < 0
    sensor.close()
    assert bus.closed == 1


def test_windows_are_those_the_chip_is_set_up_for(tmp_path):
    board, bus, settings = wired(tmp_path, "ina226")
    bus.registers[0] = (0x4127 & ~(7 << 9) | 2 << 9 | 7 << 3, 2)  # 16 averages of 1.1 + 8.244 ms
    assert open_sensor(board.host, settings).info.window_ms == pytest.approx(16 * 9.344)
    assert open_sensor(board.host, settings).info.max_hz == pytest.approx(6.7, abs=0.1)


@pytest.mark.parametrize(("config", "factor"), [(0x0000, 1), (0x0010, 4)])
def test_an_ina228_counts_joules(config, factor, tmp_path):
    board, bus, settings = wired(tmp_path, "ina228")
    bus.registers[0] = (config, 2)
    sensor = open_sensor(board.host, settings)
    step_j = 51.2 * 4096 / (13107.2e6 * 0.015) / factor
    assert sensor.info.gives == "energy"
    assert sensor.info.lsb_j == pytest.approx(step_j)
    assert sensor.info.window_ms == pytest.approx(3 * 1.052)
    sensor.read()
    bus.registers[9] = (1753, 5)
    board.after(1)
    sample = sensor.read()
    assert sample.energy_j == pytest.approx(1753 * step_j)
    assert sample.power_w == pytest.approx(1753 * step_j)


def test_an_ina228_goes_on_where_its_40_bits_end(tmp_path):
    board, bus, settings = wired(tmp_path, "ina228")
    bus.registers[9] = (2**40 - 10, 5)
    sensor = open_sensor(board.host, settings)
    sensor.read()
    bus.registers[9] = (20, 5)
    board.after(1)
    assert sensor.read().energy_j == pytest.approx(30 * sensor.info.lsb_j)


def test_another_chip_is_refused(tmp_path):
    board, bus, settings = wired(tmp_path, "ina226")
    bus.registers[0xFF] = (0x2270, 2)
    with pytest.raises(SensorError, match="says that it is 0x2270, not 0x2260") as refused:
        open_sensor(board.host, settings)
    assert "i2cdetect" in refused.value.remedy
    assert bus.closed == 1


def test_an_ina228_without_a_calibration_is_refused(tmp_path):
    board, bus, settings = wired(tmp_path, "ina228")
    bus.registers[2] = (0, 2)
    with pytest.raises(SensorError, match="has no calibration"):
        open_sensor(board.host, settings)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EREMOTEIO, "did not answer"),
        (errno.EACCES, "usermod -aG i2c"),
        (errno.EBUSY, "found as ina2xx"),
    ],
)
def test_a_chip_that_does_not_answer_says_why(number, remedy, tmp_path):
    board, bus, settings = wired(tmp_path, "ina219")
    bus.error = number
    with pytest.raises(SensorError, match="i2c@1-0040 cannot be used") as refused:
        open_sensor(board.host, settings)
    assert remedy in refused.value.remedy


def test_the_bus_is_opened_again_after_a_failure(tmp_path):
    board, bus, settings = wired(tmp_path, "ina219")
    sensor = open_sensor(board.host, settings)
    bus.error = errno.EIO
    for _ in range(2):
        with pytest.raises(SensorError, match="cannot be read"):
            sensor.read()
    bus.error = 0
    board.buses[1] = again = Bus(INA219)
    assert sensor.read().power_w == pytest.approx(1.87)
    assert bus.closed == 2
    sensor.close()
    assert again.closed == 1


def test_without_a_bus(tmp_path):
    probe = find_sensors(Board(tmp_path).host, sensor_settings(i2c_chip="ina260", i2c_bus=7))
    (over,) = probe.passed
    assert over.place == "ina260 on /dev/i2c-7 at 0x40"
    assert "No such file" in over.why


def test_without_smbus2_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "smbus2", None)
    with pytest.raises(MissingExtraError, match="smbus2 is missing") as missing:
        open_bus(1)
    assert "pip install smbus2" in missing.value.remedy
    (over,) = find_sensors(Host(), sensor_settings(i2c_chip="ina260")).passed[:1]
    assert "extra i2c" in over.remedy
