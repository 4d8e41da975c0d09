"""Sensors on the file trees of every board: watts, joules, and what goes wrong with chips."""

import errno

import pytest

from harness.boards import (
    BOARDS,
    NO_PMIC,
    PMIC,
    PMIC_W,
    Board,
    agx_orin,
    agx_xavier,
    laptop,
    nano,
    orin_nano,
    pi4,
    pi4_ina226,
    pi4_ina228,
    pi5,
    server,
    thor,
)
from slfac.device.energy import find_sensors, sensor_settings
from slfac.wire.errors import SensorError, SettingsError

pytestmark = pytest.mark.device

TABLE = {
    "nano": ("jetson", "module", 1.870, 75.2),
    "tx2": ("jetson", "module", 2.930, 75.2),
    "agx_xavier": ("jetson", "module", 0.31 + 0.62 + 0.93 + 0.155 + 1.37, 12.5),
    "xavier_nx_jp4": ("jetson", "module", 3.120, 75.2),
    "xavier_nx": ("jetson", "module", 5.104 * 1.016, 75.2),
    "orin_nano": ("jetson", "module", 5.104 * 1.016, 75.2),
    "orin_nx": ("jetson", "module", 4.928 * 0.936, 75.2),
    "agx_orin": ("jetson", "module", 19.08 * 0.160 + 5.024 * 0.58 + 5.016 * 0.1, 18.8),
    "thor": ("jetson", "module", 23.0, 312.5),
    "pi5": ("pi5", "module", PMIC_W, 10.0),
    "pi4_ina226": ("ina2xx@1-0040", "board", 3.2, 200.0),
    "laptop": ("battery@BAT0", "board", 7.48, None),
}


def found(board, **settings):
    return find_sensors(board.host, sensor_settings(**settings))


def only(board, **settings):
    (sensor,) = found(board, **settings).sensors
    return sensor


def passed(board, **settings):
    return {over.name: over for over in found(board, **settings).passed}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_each_board_tells_its_watts(name, tmp_path):
    board = BOARDS[name](tmp_path)
    sensor = only(board)
    known = (sensor.info.name, sensor.info.scope, sensor.info.max_hz)
    assert known == (TABLE[name][0], TABLE[name][1], TABLE[name][3])
    assert sensor.info.gives == "power"
    before_ns = board.now_ns
    sample = sensor.read()
    assert sample.power_w == pytest.approx(TABLE[name][2], rel=1e-9)
    assert sample.energy_j is None
    assert set(sample.rails_w) == set(sensor.info.rails) >= set(sensor.info.total)
    assert sample.t0_ns == before_ns - sensor.info.window_ms * 1e6
    assert before_ns <= sample.t1_ns == board.now_ns
    assert sensor.read().power_w == pytest.approx(TABLE[name][2], rel=1e-9)


def test_boards_without_a_sensor_say_what_to_do(tmp_path):
    probe = found(pi4(tmp_path))
    assert not probe.sensors
    (over,) = probe.passed
    assert "Raspberry Pi 4 Model B Rev 1.4 does not measure its own current" in over.why
    assert "INA226" in over.remedy


def one_rail(root, **files):
    board = Board(root)
    board.hwmon("ina226", "1-0040", "i2c", **files)
    return board


@pytest.mark.parametrize(
    "make",
    [
        nano,  # mW
        lambda root: one_rail(root, power1_input=1_870_000, curr1_input=374),  # uW
        lambda root: one_rail(root, in1_input=5000, curr1_input=374),  # mV times mA
    ],
    ids=["mW", "uW", "mV x mA"],
)
def test_the_same_power_comes_out_of_every_unit(make, tmp_path):
    assert only(make(tmp_path)).read().power_w == pytest.approx(1.87, abs=1e-12)


def test_rails_that_the_total_does_not_need_are_read_if_asked(tmp_path):
    board = orin_nano(tmp_path)
    assert set(only(board).read().rails_w) == {"VDD_IN"}
    sensor = only(board, all_rails=True)
    rails = sensor.read().rails_w
    assert rails == pytest.approx(
        {"VDD_IN": 5.185664, "VDD_CPU_GPU_CV": 5.104 * 0.064, "VDD_SOC": 5.104 * 0.136}
    )
    assert sensor.read().power_w == rails["VDD_IN"]
    assert sensor.info.max_hz == pytest.approx(25, abs=0.2)


def test_only_files_that_are_needed_are_read(tmp_path):
    board = orin_nano(tmp_path)
    sensor = only(board)
    board.reads.clear()
    sensor.read()
    assert [path.name for path in board.reads] == ["in1_input", "curr1_input"]


def test_steps_are_those_of_the_shunt(tmp_path):
    assert only(orin_nano(tmp_path / "a")).info.lsb_w == pytest.approx(0.008 * 5.104)
    assert only(agx_orin(tmp_path / "b")).info.lsb_w == pytest.approx(0.020 * 19.08)
    assert only(pi4_ina226(tmp_path / "c")).info.lsb_w == pytest.approx(25 * 2.5 / 10000)
    assert only(nano(tmp_path / "d")).info.lsb_w is None


def test_a_rail_may_be_negative_and_is_not_added_to_the_whole(tmp_path):
    sample = only(thor(tmp_path), all_rails=True).read()
    assert sample.rails_w["VDD_GPU"] == pytest.approx(-0.384)
    assert sample.power_w == sample.rails_w["VIN"] == 23.0


def test_the_power_of_an_ina226_has_its_currents_sign(tmp_path):
    board = one_rail(tmp_path, in1_input=5000, curr1_input=-64, power1_input=320000)
    assert only(board).read().power_w == pytest.approx(-0.32)


def test_what_is_not_connected_or_switched_off_is_passed_over(tmp_path):
    board = agx_orin(tmp_path / "a")
    over = [over for over in found(board).passed if over.name == "jetson NC"]
    assert [each.place for each in over] == ["ina3221 1-0041 channel 1", "ina3221 1-0041 channel 3"]
    assert "NC" not in only(board).info.rails

    board = orin_nano(tmp_path / "b")
    (folder,) = (board.root / "sys/devices").rglob("hwmon/hwmon*/in3_enable")
    folder.write_text("0\n")
    assert "VDD_SOC" not in only(board, all_rails=True).info.rails
    assert passed(board)["jetson VDD_SOC"].why == "the channel is switched off"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODATA])
def test_a_rail_that_cannot_be_read_is_passed_over_and_the_whole_is_not_less(number, tmp_path):
    board = agx_orin(tmp_path)
    (folder,) = (board.root / "sys/devices/platform/i2c/1-0041/hwmon").iterdir()
    board.failing[f"{folder.name}/curr2_input"] = number
    probe = found(board)
    assert not probe.sensors
    overs = {over.name: over for over in probe.passed}
    assert "did not answer" in overs["jetson VDDQ_VDD2_1V8AO"].remedy
    assert "is known to be the whole" in overs["jetson"].why
    # It can still be said what adds up.
    rails = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    assert only(board, total=rails).read().power_w == pytest.approx(19.08 * 0.16 + 5.024 * 0.58)


def test_without_its_input_a_board_gives_no_smaller_whole(tmp_path):
    board = thor(tmp_path / "a")
    board.failing["power1_input"] = errno.EIO
    assert not found(board).sensors
    board = orin_nano(tmp_path / "b")
    board.failing["curr1_input"] = errno.EACCES
    probe = found(board)
    assert not probe.sensors
    # Nothing suggests to take the other rails for the whole.
    (over,) = probe.passed
    assert "chmod a+r" in over.remedy


def test_sums_of_shunt_voltages_are_no_rails(tmp_path):
    assert not found(orin_nano(tmp_path), all_rails=True).passed


def test_permission_is_said_with_the_way_to_get_it(tmp_path):
    board = nano(tmp_path)
    board.failing["in_power0_input"] = errno.EACCES
    assert not found(board).sensors
    over = passed(board)["jetson POM_5V_IN"]
    assert "cannot be read" in over.why
    assert "sudo chmod a+r /sys/bus/i2c/drivers/ina3221x" in over.remedy


@pytest.mark.parametrize(
    ("total", "said"),
    [
        (("VDD_IN", "VDD_SOC"), "VDD_IN is the whole module, and holds the other rails"),
        (("VDD_GPU",), "there is no rail VDD_GPU"),
    ],
)
def test_rails_that_cannot_be_added_up_are_refused(total, said, tmp_path):
    with pytest.raises(SettingsError, match=said) as refused:
        found(orin_nano(tmp_path), total=total)
    assert "setting total is" in refused.value.what
    assert refused.value.remedy


def test_which_rails_are_the_whole_can_be_said(tmp_path):
    board = agx_orin(tmp_path)
    sensor = only(board, total=("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
    assert sensor.read().power_w == pytest.approx(19.08 * 0.16 + 5.024 * 0.58)
    assert sensor.info.note == ""
    assert "twice" in only(board).info.note


@pytest.mark.parametrize("name", ["orin_nano", "agx_orin", "thor", "pi4_ina226", "pi4_ina228"])
def test_a_chip_that_gets_another_number_is_found_again(name, tmp_path):
    board = BOARDS[name](tmp_path)
    sensor = only(board)
    first = sensor.read()
    for _ in range(2):
        board.renumber()
        assert sensor.read().power_w == pytest.approx(first.power_w or 0.0)


def test_an_iio_device_that_gets_another_number_is_found_again(tmp_path):
    sensor = only(nano(tmp_path))
    sensor.read()
    folder = tmp_path / "sys/devices/i2c/6-0040"
    (folder / "iio:device0").rename(folder / "iio:device5")
    assert sensor.read().power_w == 1.87


def test_another_chip_under_the_old_number_is_not_read(tmp_path):
    """Chips without a device folder have nothing but their name and labels."""
    board = Board(tmp_path)
    ours = board.hwmon("ina226", power1_input=1_870_000, curr1_input=374)
    other = board.hwmon("nvme", power1_input=9_000_000)
    sensor = only(board)
    assert sensor.read().power_w == pytest.approx(1.87)
    board.swap(ours, other)
    assert sensor.read().power_w == pytest.approx(1.87)
    board.remove(other)  # where ours is now
    with pytest.raises(SensorError, match="has gone"):
        sensor.read()


@pytest.mark.parametrize("name", ["orin_nano", "pi4_ina226", "nano"])
def test_a_chip_that_vanishes_is_an_error_until_it_is_back(name, tmp_path):
    board = BOARDS[name](tmp_path)
    sensor = only(board)
    first = sensor.read()
    gone = tmp_path / "gone"
    (board.root / "sys").rename(gone)
    for _ in range(2):
        with pytest.raises(SensorError, match="has gone"):
            sensor.read()
    gone.rename(board.root / "sys")
    assert sensor.read().power_w == first.power_w


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODATA, errno.EAGAIN])
@pytest.mark.parametrize(
    ("name", "file"),
    [("orin_nano", "curr1_input"), ("nano", "in_power0_input"), ("pi4_ina226", "power1_input")],
)
def test_a_read_that_fails_is_an_error_and_the_next_one_goes_on(name, file, number, tmp_path):
    board = BOARDS[name](tmp_path)
    sensor = only(board)
    first = sensor.read()
    board.failing[file] = number
    with pytest.raises(SensorError, match="cannot be read"):
        sensor.read()
    board.failing.clear()
    assert sensor.read().power_w == first.power_w


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("999999999999", "which no board draws"),
        ("-999999999999", "which no board draws"),
        ("", "not a whole number"),
        ("1.5", "not a whole number"),
        ("nan", "not a whole number"),
        ("9" * 5000, "not a whole number"),
        ("0x10", "not a whole number"),
        ("<unknown>", "not a whole number"),
    ],
)
def test_nonsense_is_an_error(value, said, tmp_path):
    board = pi4_ina226(tmp_path)
    sensor = only(board)
    (file,) = (board.root / "sys/devices").rglob("power1_input")
    file.write_text(f"{value}\n")
    with pytest.raises(SensorError, match=said):
        sensor.read()


def test_several_meters_are_not_guessed(tmp_path):
    board = pi4_ina226(tmp_path)
    board.hwmon("ina219", "1-0041", "i2c", in1_input=5000, curr1_input=100)
    probe = found(board)
    assert not probe.sensors
    assert "--sensor ina2xx@1-0041 --scope board" in probe.passed[0].remedy
    names = [sensor.info.name for sensor in found(board, scope="board").sensors]
    assert names == ["ina2xx@1-0041", "ina2xx@1-0040"]


def test_a_chip_of_which_nothing_is_known_is_passed_over(tmp_path):
    board = Board(tmp_path)
    board.hwmon("mystery", "dev", power1_average=4_000_000)
    over = passed(board)["hwmon@dev"]
    assert "what chip mystery measures is not known" in over.why
    assert over.remedy == "say it: --sensor hwmon@dev --scope board"
    sensor = only(board, scope="board")
    assert (sensor.info.scope, sensor.read().power_w) == ("board", 4.0)


def test_energy_is_preferred_to_power_and_power_to_volts_and_amperes(tmp_path):
    files = {"in1_input": 5000, "curr1_input": 200, "power1_input": 2_000_000}
    volts = Board(tmp_path / "a")
    volts.hwmon("zenergy", "d", in1_input=5000, curr1_input=200)
    power = Board(tmp_path / "b")
    power.hwmon("zenergy", "d", **files)
    energy = Board(tmp_path / "c")
    energy.hwmon("zenergy", "d", **files, energy1_input=7_000_000)
    assert only(volts).read().power_w == 1.0
    assert only(power).read().power_w == 2.0
    assert (only(energy).info.gives, only(energy).read().energy_j) == ("energy", 0.0)


def test_counters_of_cores_are_not_added_to_those_of_sockets(tmp_path):
    board = Board(tmp_path)
    files = {"energy1_label": "Ecore000", "energy1_input": 5, "energy2_label": "Esocket0"}
    board.hwmon("amd_energy", "d", **files, energy2_input=50)
    assert only(board).info.total == ("Esocket0",)
    board.hwmon("zenergy", "e", energy1_input=5, energy2_input=50)
    assert "which of its rails energy1, energy2" in passed(board)["hwmon@e"].why


@pytest.mark.parametrize(
    ("text", "said", "remedy"),
    [
        (NO_PMIC, "has no power controller", "INA226"),
        ("Can't open device file: /dev/vcio\n", "may not ask the firmware", "usermod -aG video"),
        ("", "told no rail", "rpi-eeprom-update"),
        (PermissionError(13, "Permission denied"), "may not be run", "usermod -aG video"),
        (TimeoutError(110, "no end within 2 s"), "no end within 2 s", ""),
        (None, "vcgencmd is not there", "raspi-utils"),
        (PMIC.replace("0.74944980V", "nanV"), "NaN for rail VDD_CORE", ""),
    ],
)
def test_a_firmware_that_does_not_tell_is_passed_over(text, said, remedy, tmp_path):
    board = pi5(tmp_path)
    board.commands["vcgencmd pmic_read_adc"] = text
    over = passed(board)["pi5"]
    assert said in over.why
    assert remedy in over.remedy


def test_voltages_without_a_current_are_no_rails_even_if_they_are_no_numbers(tmp_path):
    board = pi5(tmp_path)
    board.commands["vcgencmd pmic_read_adc"] = PMIC.replace("5.08530000V", "nanV")
    sensor = only(board)
    assert sensor.read().power_w == pytest.approx(PMIC_W)
    assert len(sensor.info.rails) == 12
    board.commands["vcgencmd pmic_read_adc"] = PMIC.replace("VDD_CORE_A", "VDD_LOST_A")
    with pytest.raises(SensorError, match="told nothing of rail VDD_CORE"):
        sensor.read()


def test_a_battery_that_is_charged_is_not_the_boards_power(tmp_path):
    board = laptop(tmp_path)
    sensor = only(board)
    status = board.root / "sys/class/power_supply/BAT0/status"
    status.write_text("Charging\n")
    with pytest.raises(SensorError, match="'Charging'") as refused:
        sensor.read()
    assert refused.value.remedy == "unplug the charger"
    assert not found(board).sensors
    status.write_text("Discharging\n")
    (board.root / "sys/class/power_supply/BAT0/power_now").unlink()
    assert sensor.read().power_w == pytest.approx(11.4 * 0.656)
    board.write("sys/class/power_supply/BAT0", current_now=-656000)
    assert sensor.read().power_w == pytest.approx(11.4 * 0.656)


def test_usb_ports_are_no_batteries(tmp_path):
    board = laptop(tmp_path)
    (board.root / "sys/class/power_supply/BAT0/type").write_text("Mains\n")
    assert not found(board).sensors
    assert not found(board).passed


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_board_survives_every_file_being_unreadable(name, tmp_path):
    board = BOARDS[name](tmp_path)
    sensors = found(board).sensors
    board.failing[""] = errno.EIO
    board.commands.clear()
    for sensor in sensors:
        with pytest.raises(SensorError):
            sensor.read()
    assert not found(board).sensors


def test_the_sum_of_rails_is_found_by_labels_whatever_the_chips_order(tmp_path):
    for seed, make in enumerate((agx_orin, agx_xavier)):
        sensor = only(make(tmp_path / str(seed)))
        assert len(sensor.info.total) == (4, 6)[seed]


def test_joules_of_an_ina228_and_of_rapl_begin_at_nought(tmp_path):
    sensor = only(pi4_ina228(tmp_path / "a"))
    assert (sensor.info.gives, sensor.info.scope, sensor.read().energy_j) == ("energy", "board", 0)
    rapl, psys = found(server(tmp_path / "b")).sensors
    assert (rapl.info.scope, psys.info.scope) == ("soc", "board")
    assert rapl.read().energy_j == psys.read().energy_j == 0.0
