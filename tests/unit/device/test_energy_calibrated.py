"""A calibrated sensor gives the board's power, says by whom, and is no other sensor's."""

import pytest

from harness.boards import PMIC_W, agx_orin, orin_nano, pi4_ina226, pi4_ina228, pi5, server
from slfac.device.energy import Calibration, find_sensors, open_sensor, sensor_settings
from slfac.device.energy.calibrated import CalibratedSensor
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

PI5 = Calibration(
    driver="pi5", scope="module", gain=1.1451, offset_w=0.5879, source="a fit on another board"
)


def of(driver, scope="soc", **changes):
    values = {"driver": driver, "scope": scope, "gain": 2.0, "offset_w": 3.0, "source": "somebody"}
    return Calibration(**{**values, **changes})


@pytest.mark.parametrize("settings", [{}, {"sensor": "pi5"}, {"sensor": "pi5:calibrated"}])
def test_watts_become_the_boards(settings, tmp_path):
    board = pi5(tmp_path)
    sensor = open_sensor(board.host, sensor_settings(calibration=(PI5,), **settings))
    sample = sensor.read()
    assert sample.power_w == pytest.approx(1.1451 * PMIC_W + 0.5879, rel=1e-12)
    assert sum(sample.rails_w.values()) == pytest.approx(PMIC_W)
    assert (sensor.info.name, sensor.info.kind) == ("pi5:calibrated", "pi5")
    assert (sensor.info.scope, sensor.info.gives) == ("board", "power")
    said = "calibrated: 1.1451 x watts +0.5879 W, by a fit on another board"
    assert sensor.info.note.endswith(said)
    sensor.close()


def test_the_offset_of_a_counter_grows_with_time(tmp_path):
    board = server(tmp_path)
    settings = sensor_settings(sensor="rapl", calibration=(of("rapl"),))
    sensor = open_sensor(board.host, settings)
    plain = open_sensor(board.host, sensor_settings(sensor="rapl"))
    first, first_plain = sensor.read(), plain.read()
    assert (first.power_w, first.energy_j) == (None, 0.0)
    for zone in ("0", "1"):
        board.write(
            f"sys/devices/virtual/powercap/intel-rapl/intel-rapl:{zone}",
            energy_uj=262_100_000_000 + 20_000_000,
        )
    board.after(4.0)
    second, second_plain = sensor.read(), plain.read()
    seconds = (second.t1_ns - first.t1_ns) / 1e9
    assert second.energy_j == pytest.approx(2.0 * 40.0 + 3.0 * seconds)
    assert second.power_w == pytest.approx(2.0 * 40.0 / seconds + 3.0)
    assert second_plain.energy_j - first_plain.energy_j == pytest.approx(40.0)
    assert sensor.info.gives == "energy"
    assert sensor.info.lsb_j is None or sensor.info.lsb_j == 2 * plain.info.lsb_j


def test_a_calibration_to_the_wall_is_the_walls(tmp_path):
    board = pi4_ina226(tmp_path)
    settings = sensor_settings(calibration=(of("ina2xx", "board", gain_scope="wall"),))
    sensor = open_sensor(board.host, settings)
    assert sensor.info.scope == "wall"
    assert sensor.read().power_w == pytest.approx(2 * 3.2 + 3)
    assert sensor.info.lsb_w is None or sensor.info.lsb_w > 0


@pytest.mark.parametrize(
    ("made", "calibration", "said"),
    [
        (orin_nano, PI5, "it is of pi5, and jetson would be read"),
        (orin_nano, of("jetson", "soc"), "of the soc's power, not the module's, and jetson"),
        (
            agx_orin,
            of("jetson", "module", total=("VDD_IN",)),
            r"it is of VDD_IN, not VDD_GPU_SOC\+",
        ),
        (pi4_ina228, PI5, "it is of pi5, and ina2xx@1-0040 would be read"),
    ],
)
def test_a_calibration_of_something_else_is_refused(made, calibration, said, tmp_path):
    board = made(tmp_path)
    with pytest.raises(SettingsError, match=said):
        open_sensor(board.host, sensor_settings(calibration=(calibration,)))


def test_without_the_sensor_that_it_is_of_nothing_is_read(tmp_path):
    board = pi5(tmp_path)
    board.commands.clear()
    with pytest.raises(SettingsError, match=r"but no sensor can be read; it is of one sensor"):
        open_sensor(board.host, sensor_settings(calibration=(PI5,)))
    with pytest.raises(SettingsError, match="calibration and sensor 'none'"):
        sensor_settings(sensor="none", calibration=(PI5,))


def test_a_sum_is_not_calibrated_twice(tmp_path):
    board = pi4_ina226(tmp_path)
    board.hwmon("ina226", "1-0041", "i2c", power1_input=1_000_000, curr1_input=200)
    settings = {"sensor": "ina2xx@1-0040,ina2xx@1-0041", "scope": "board"}
    assert open_sensor(board.host, sensor_settings(**settings)).read().power_w == 4.2
    with pytest.raises(SettingsError, match="2 sensors are added up"):
        open_sensor(board.host, sensor_settings(**settings, calibration=(of("ina2xx", "board"),)))


def test_others_stay_as_they_are(tmp_path):
    board = server(tmp_path)
    found = find_sensors(board.host, sensor_settings(calibration=(of("rapl", "board"),)))
    kinds = {sensor.info.name: isinstance(sensor, CalibratedSensor) for sensor in found.sensors}
    assert kinds == {"rapl": False, "rapl@psys:calibrated": True}


@pytest.mark.parametrize(
    "changes", [{"gain": 0.0}, {"gain": float("nan")}, {"gain": 101.0}, {"offset_w": 1001.0}]
)
def test_absurd_figures_are_refused(changes):
    values = {"driver": "pi5", "scope": "module", "gain": 1.0, "offset_w": 0.0, "source": "x"}
    with pytest.raises(SettingsError, match="calibration"):
        sensor_settings(calibration=({**values, **changes},))
