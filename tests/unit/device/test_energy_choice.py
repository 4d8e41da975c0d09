"""Which sensor is read, settings that are refused, and scopes that cannot be added up."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.boards import (
    Board,
    agx_orin,
    laptop,
    nano,
    orin_nano,
    pi4,
    pi4_ina226,
    pi5,
    server,
    thor,
)
from slfac.device.energy import (
    Host,
    find_sensors,
    host_at,
    open_sensor,
    read_conditions,
    sensor_settings,
)
from slfac.device.energy.combined import SumSensor
from slfac.device.energy.host import read_file, run_command
from slfac.device.energy.measure import measure
from slfac.wire.errors import SensorError, SettingsError

pytestmark = pytest.mark.device


def test_the_best_sensor_is_taken(tmp_path):
    board = laptop(tmp_path)
    server(tmp_path)
    names = [sensor.info.name for sensor in find_sensors(board.host, sensor_settings()).sensors]
    assert names == ["rapl", "rapl@psys", "battery@BAT0"]
    board.hwmon("ina226", "1-0040", "i2c", power1_input=1_000_000, curr1_input=200)
    assert open_sensor(board.host, sensor_settings()).info.name == "ina2xx@1-0040"


def test_without_a_sensor_there_are_times_and_no_joules(tmp_path):
    for board, settings in (
        (pi4(tmp_path / "a"), sensor_settings()),
        (pi5(tmp_path / "b"), sensor_settings(sensor="none")),
    ):
        sensor = open_sensor(board.host, settings)
        sample = sensor.read()
        assert (sensor.info.scope, sensor.info.gives) == (None, "nothing")
        assert (sample.power_w, sample.energy_j, dict(sample.rails_w)) == (None, None, {})
        assert sample.t1_ns == board.now_ns
        sensor.close()


@pytest.mark.parametrize(
    ("name", "said", "remedy"),
    [
        ("rapl", None, None),
        ("battery", None, None),
        ("battery@BAT0", None, None),
        ("rapl@psys", None, None),
        ("jetson", "there is no sensor 'jetson'", "rapl, rapl@psys, battery@BAT0"),
        ("battery@BAT1", "there is no sensor", "slfac profile sensors"),
        ("rapl,battery", "measure different things", "of one scope"),
        ("rapl@psys,battery", "each measures the whole board", "of one kind"),
        ("rapl,rapl", "one is named twice", "once"),
    ],
)
def test_sensors_are_named_as_they_are_listed(name, said, remedy, tmp_path):
    board = laptop(tmp_path)
    server(tmp_path)
    settings = sensor_settings(sensor=name)
    if said is None:
        assert open_sensor(board.host, settings).info.name.startswith(name)
        return
    with pytest.raises(SettingsError, match=said) as refused:
        open_sensor(board.host, settings)
    assert f"setting sensor is '{name.partition(',')[0]}" in refused.value.what
    assert remedy in refused.value.remedy


def two_supplies(root):
    board = Board(root)
    for address, watts in (("1-0040", 1.87), ("1-0041", 3.2)):
        board.hwmon("ina226", address, "i2c", power1_input=round(watts * 1e6), curr1_input=9)
    return board


def test_two_supplies_of_one_board_are_added_up(tmp_path):
    board = two_supplies(tmp_path)
    with pytest.raises(SettingsError, match="more than one is: ina2xx@1-0040, ina2xx@1-0041"):
        open_sensor(board.host, sensor_settings(sensor="ina2xx", scope="board"))
    settings = sensor_settings(sensor="ina2xx@1-0040,ina2xx@1-0041", scope="board")
    sensor = open_sensor(board.host, settings)
    assert (sensor.info.kind, sensor.info.scope) == ("sum", "board")
    sample = sensor.read()
    assert sample.power_w == pytest.approx(5.07)
    assert sample.rails_w["ina2xx@1-0041/supply"] == pytest.approx(3.2)
    assert sample.energy_j is None
    (folder,) = (tmp_path / "sys/devices/platform/i2c/1-0041/hwmon").iterdir()
    board.failing[f"{folder.name}/power1_input"] = 5
    with pytest.raises(SensorError):
        sensor.read()
    sensor.close()


def test_joules_are_added_up_where_all_count_them(tmp_path):
    board = Board(tmp_path)
    for address in ("1-0040", "1-0041"):
        board.hwmon("ina228", address, "i2c", energy1_input=10)
    sensors = find_sensors(board.host, sensor_settings(scope="board")).sensors
    both = SumSensor(sensors)
    assert both.info.gives == "energy"
    assert (both.read().power_w, both.read().energy_j) == (None, 0.0)


@pytest.mark.parametrize("scope", ["board", "wall"])
def test_scopes_are_never_mixed(scope, tmp_path):
    board = two_supplies(tmp_path)
    first = find_sensors(board.host, sensor_settings(scope="module")).sensors[0]
    second = find_sensors(board.host, sensor_settings(scope=scope)).sensors[1]
    with pytest.raises(SettingsError, match=f"ina2xx@1-0040 the module, ina2xx@1-0041 the {scope}"):
        SumSensor([first, second])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sensor": ""}, "setting sensor is ''"),
        ({"sensor": "a b"}, "setting sensor is 'a b'"),
        ({"sensor": 5}, "setting sensor is 5"),
        ({"scope": "planet"}, "setting scope is 'planet'"),
        ({"total": ()}, r"setting total is \(\)"),
        ({"total": ("a b",)}, "setting total is"),
        ({"total": ("A", "A")}, "names a rail twice"),
        ({"plug": "192.168.1.9"}, "setting plug is '192.168.1.9'"),
        ({"plug": "https://x"}, "not an address of a plug"),
        ({"plug": "file:///etc/passwd"}, "not an address"),
        ({"plug": "http://u:p@x"}, "not an address"),
        ({"plug": "http://x:99999"}, "not an address"),
        ({"plug": "http://x\r\nHost: y"}, "not an address"),
        ({"plug": "http://"}, "not an address"),
        ({"plug": "http://[::1"}, "not an address"),
        ({"plug": "http://x/status?a=1"}, "goes on behind the address"),
        ({"plug_kind": "sonoff"}, "setting plug_kind"),
        ({"plug_channel": 9}, "setting plug_channel is 9"),
        ({"serial_baud": 12345}, "setting serial_baud is 12345"),
        ({"serial_port": 7}, "setting serial_port is 7: Expected a path"),
        ({"serial_port": "a", "meter_file": "b"}, "do not go together"),
        ({"meter_hz": 0}, "setting meter_hz is 0"),
        ({"meter_hz": float("nan")}, "setting meter_hz is nan"),
        ({"meter_columns": ("power w",)}, "setting meter_columns"),
        ({"meter_scope": "soc"}, "setting meter_scope"),
        ({"i2c_chip": "ina999"}, "setting i2c_chip"),
        ({"i2c_chip": "ina219"}, "setting shunt_ohm is missing for i2c_chip 'ina219'"),
        ({"i2c_chip": "ina219", "shunt_ohm": 0.0}, "setting shunt_ohm is 0.0"),
        ({"i2c_address": 0x20}, "setting i2c_address is 32"),
        ({"i2c_bus": -1}, "setting i2c_bus is -1"),
        ({"watts": 3}, "unknown field `watts`"),
    ],
)
def test_settings_out_of_range_are_named(values, said):
    with pytest.raises(SettingsError, match=said) as refused:
        sensor_settings(**values)
    assert refused.value.remedy


@given(plug=st.text(max_size=40) | st.text("htp:/@[].0a", max_size=20).map("http://".__add__))
def test_any_address_is_taken_or_refused(plug):
    try:
        settings = sensor_settings(plug=plug)
    except SettingsError:
        return
    assert settings.plug == plug
    assert plug.startswith("http://")


def test_conditions_of_a_jetson(tmp_path):
    board = nano(tmp_path)
    now = read_conditions(board.host)
    assert now.temperatures_c == {"cpu-thermal": 51.5, "gpu-thermal": 48.25}
    assert now.clocks_mhz == {"policy0": 1500.0, "policy4": 600.0, "17000000.gpu": 306.0}
    assert now.governors == {"policy0": "schedutil", "policy4": "schedutil"}
    assert (now.throttled_now, now.throttled_since_boot) == (None, None)
    assert (now.overcurrents, now.power_mode) == (0, "2 (MAXN_SUPER)")
    (chip,) = (tmp_path / "sys/class/hwmon").glob("*/oc3_event_cnt")
    chip.write_text("4\n")
    assert read_conditions(board.host).overcurrents == 4


@pytest.mark.parametrize("make", [pi4, pi5], ids=["by file", "by command"])
def test_conditions_of_a_raspberry_pi(make, tmp_path):
    board = make(tmp_path)
    now = read_conditions(board.host)
    assert now.throttled_now == now.throttled_since_boot == ("under-voltage", "throttled")
    assert (now.overcurrents, now.power_mode) == (None, None)
    board.commands["vcgencmd get_throttled"] = "throttled=0xe0002\n"
    board.write("sys/devices/platform/soc/soc:firmware", get_throttled="e0002")
    now = read_conditions(board.host)
    assert now.throttled_now == ("frequency capped",)
    assert now.throttled_since_boot == (
        "frequency capped",
        "throttled",
        "soft temperature limit",
    )


def test_what_is_not_known_of_a_machine_is_left_out(tmp_path):
    board = Board(tmp_path)
    now = read_conditions(board.host)
    assert (now.temperatures_c, now.clocks_mhz, now.governors) == ({}, {}, {})
    assert (now.throttled_now, now.overcurrents, now.power_mode) == (None, None, None)
    pi5(tmp_path).commands.clear()
    board.commands["vcgencmd get_throttled"] = "VCHI initialization failed\n"
    assert read_conditions(board.host).throttled_now is None


def test_rates_are_counted(tmp_path):
    board = pi4_ina226(tmp_path / "a")
    (sensor,) = find_sensors(board.host, sensor_settings()).sensors
    measured = measure(sensor, board.host, 1.0)
    # Twice what the sensor can have new, on a clock that moves 1 ms a file.
    assert measured.reads_hz == pytest.approx(400, rel=0.02)
    assert (measured.new_hz, measured.failures, measured.error) == (0.0, 0, "")
    assert measured.power_w == pytest.approx(3.2)

    board = thor(tmp_path / "b")
    (sensor,) = find_sensors(board.host, sensor_settings()).sensors
    board.failing["power1_input"] = 5
    measured = measure(sensor, board.host, 1.0)
    assert (measured.reads_hz, measured.power_w) == (0.0, None)
    assert measured.failures > 5
    assert "cannot be read" in measured.error


def test_a_slow_sensor_is_not_asked_more_often_than_makes_sense(tmp_path):
    board = agx_orin(tmp_path)
    (sensor,) = find_sensors(board.host, sensor_settings()).sensors
    assert measure(sensor, board.host, 2.0).reads_hz == pytest.approx(37.6, rel=0.05)


def test_programs_are_run_without_a_shell_and_not_for_ever(tmp_path, monkeypatch):
    assert run_command(["echo", "$HOME; true"]) == "$HOME; true\n"
    with pytest.raises(FileNotFoundError, match="no such program"):
        run_command(["no-such-program-of-anybody"])
    assert "error" in run_command([sys.executable, "-c", "import sys; sys.stderr.write('error')"])
    assert len(run_command([sys.executable, "-c", "print('x' * 100000)"])) == 4096
    monkeypatch.setattr("slfac.device.energy.host._COMMAND_S", 0.1)
    with pytest.raises(TimeoutError, match="no end within"):
        run_command(["tail", "-f", "/dev/null"])
    with pytest.raises(OSError, match="no programs run for a copied tree"):
        host_at(tmp_path).run(["true"])
    assert host_at(Path("/")).run is run_command


def test_files_are_short_and_pipes_are_not_waited_for(tmp_path):
    (tmp_path / "long").write_bytes(b"\0 5" + b"x" * 10**6)
    assert len(read_file(tmp_path / "long")) < 4097
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "pipe") == ""
    assert Host(tmp_path).text(tmp_path / "nowhere") is None
    (tmp_path / "loop").symlink_to("loop")
    assert Host(tmp_path).text(tmp_path / "loop") is None


def test_links_that_go_round_are_passed_over(tmp_path):
    board = orin_nano(tmp_path)
    for place in ("sys/class/hwmon/hwmon77", "sys/bus/iio/devices/iio:device9"):
        board.link(place, place)
    (sensor,) = find_sensors(board.host, sensor_settings()).sensors
    assert sensor.info.name == "jetson"


def test_this_machine_can_be_looked_at():
    probe = find_sensors(host_at(Path("/")), sensor_settings())
    for sensor in probe.sensors:
        try:
            sensor.read()
        finally:
            sensor.close()
    assert all(isinstance(over.why, str) for over in probe.passed)
