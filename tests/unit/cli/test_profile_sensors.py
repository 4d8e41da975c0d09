"""``slfac profile sensors``: its table, its JSON, what it refuses, and what it imports."""

import json
import os
import re
import subprocess
import sys

import pytest

from harness.boards import BOARDS, agx_orin, laptop, orin_nano, pi4, pi4_ina226, server, thor
from slfac.cli import main

pytestmark = pytest.mark.device


@pytest.fixture
def profile(capsys):
    """Runs the command on a tree; gives its exit code, output and errors."""

    def run(root, *arguments):
        code = main(["profile", "sensors", "--root", str(root), "--measure-s", "0", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_table_says_what_each_sensor_is(profile, tmp_path):
    laptop(tmp_path)
    server(tmp_path)
    code, out, err = profile(tmp_path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["sensor", "scope", "gives", "reads/s", "new/s", "step", "now"]
    rows = [line for line in lines if re.match(r"[* ]  \w", line)][1:]
    assert [row[0] for row in rows] == ["*", " ", " "]
    assert rows[0].split()[1:4] == ["rapl", "soc", "energy"]
    assert rows[2].split()[:3] == ["battery@BAT0", "board", "power"]
    assert rows[2].endswith("unknown  7.480 W")
    rails = "     package-0 + package-1; also package-0/core, package-0/dram"
    assert lines[lines.index(rows[0]) + 1] == rails
    assert lines[-1] == "3 found, 0 passed over; rapl would be read"


def test_steps_and_notes_are_shown(profile, tmp_path):
    agx_orin(tmp_path)
    _, out, _ = profile(tmp_path)
    assert "  382 mW   6.468 W\n" in re.sub(r" +6\.468", "   6.468", out)
    assert "whether VIN_SYS_5V0 holds VDDQ_VDD2_1V8AO is not known" in out
    assert "passed over jetson NC (ina3221 1-0041 channel 1): it is not connected" in out
    assert "power mode: 2 (MAXN_SUPER)" in out
    assert "over-current events: 0" in out
    assert "degrees C: cpu-thermal 51.5, gpu-thermal 48.2" in out
    assert "MHz: policy0 1500, policy4 600, 17000000.gpu 306" in out


def test_what_was_passed_over_comes_with_a_remedy(profile, tmp_path):
    pi4(tmp_path)
    code, out, _ = profile(tmp_path)
    assert code == 0
    line, remedy = out.splitlines()[:2]
    assert line.startswith("passed over pi5 (vcgencmd pmic_read_adc): a Raspberry Pi 4 Model B")
    assert remedy.startswith("     -> put an INA226 or INA228 into the board's supply")
    assert "held down by: under-voltage, throttled now, under-voltage, throttled since" in out
    assert out.endswith("0 found, 1 passed over; none would be read: times, but no joules\n")


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_the_json_is_the_same_in_full(name, profile, tmp_path):
    BOARDS[name](tmp_path)
    code, out, err = profile(tmp_path, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert set(found) == {"slfac", "chosen", "sensors", "passed_over", "conditions"}
    for sensor in found["sensors"]:
        assert sensor["scope"] in ("soc", "module", "board", "wall")
        assert set(sensor["total"]) <= set(sensor["rails"])
        assert sensor["measured"]["failures"] == 0
        assert sensor["measured"]["reads_hz"] > 0
    assert found["chosen"] == [sensor["name"] for sensor in found["sensors"][:1]]
    assert all(over["why"] for over in found["passed_over"])
    assert set(found["conditions"]) >= {"temperatures_c", "clocks_mhz", "throttled_now"}


def test_a_sensor_can_be_chosen(profile, tmp_path):
    laptop(tmp_path)
    server(tmp_path)
    _, out, _ = profile(tmp_path, "--sensor", "battery", "--json")
    assert json.loads(out)["chosen"] == ["battery@BAT0"]
    _, out, _ = profile(tmp_path, "--sensor", "none")
    assert out.endswith("none would be read: times, but no joules\n")


def test_reads_that_fail_are_counted(profile, tmp_path):
    board = thor(tmp_path)
    (file,) = (board.root / "sys/devices").rglob("power1_input")
    file.write_text("99999999999\n")
    code, out, _ = profile(tmp_path)
    assert code == 0
    assert "2 reads failed: sensor jetson says 100000 W on rail VIN, which no board draws" in out
    assert re.search(r"\* +jetson .* unknown\n", out)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--total", "VDD_IN,VDD_SOC"], 2, "VDD_IN is the whole module"),
        (["--total", "VDD"], 2, "there is no rail VDD"),
        (["--plug", "192.168.1.9"], 2, "setting plug is '192.168.1.9'"),
        (["--i2c-chip", "ina219"], 2, "setting shunt_ohm is missing"),
        (["--measure-s", "-1"], 2, "--measure-s is -1"),
        (["--measure-s", "nan"], 2, "--measure-s is nan"),
        (["--meter-hz", "0"], 2, "setting meter_hz is 0.0"),
        (["--root", "nowhere"], 2, "--root is 'nowhere', which is no folder"),
    ],
)
def test_what_is_refused_is_one_line(arguments, code, said, profile, tmp_path):
    orin_nano(tmp_path)
    given, out, err = profile(tmp_path, *arguments)
    assert (given, out) == (code, "")
    (line,) = err.splitlines()
    assert line.startswith("slfac profile: ")
    assert said in line
    assert "; " in line


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--sensor", "rapl"], 2, "there is no sensor 'rapl'; sensors found: jetson"),
        (["--meter-file", "nowhere.csv"], 70, "nowhere.csv cannot be read: No such file"),
        (["--scope", "board"], 2, "there are ina2xx@1-0040, ina2xx@1-0041; name the one that"),
    ],
)
def test_a_choice_that_cannot_be_made_is_said_behind_the_list(
    arguments, code, said, profile, tmp_path
):
    board = orin_nano(tmp_path)
    for address in ("1-0040", "1-0041"):
        board.hwmon("ina226", address, "extra", power1_input=1_000_000, curr1_input=200)
    given, out, err = profile(tmp_path, *arguments)
    assert given == code
    assert said in err
    assert "  jetson " in out
    assert "*" not in out
    assert "none would be read" in out


def test_options_reach_the_settings(profile, tmp_path):
    pi4_ina226(tmp_path)
    file = tmp_path / "meter.csv"
    file.write_text("")
    options = ["--meter-file", str(file), "--meter-columns", "time_s,power_mw"]
    more = ["--meter-scope", "wall", "--meter-hz", "25", "--scope", "module", "--all-rails"]
    _, out, _ = profile(tmp_path, *options, *more, "--json")
    meter, inline = json.loads(out)["sensors"]
    assert (meter["name"], meter["scope"], meter["max_hz"]) == ("meter", "wall", 25.0)
    assert (inline["name"], inline["scope"]) == ("ina2xx@1-0040", "module")
    assert meter["measured"]["failures"] == 2


def test_it_runs_on_a_board_without_what_only_others_need(tmp_path):
    orin_nano(tmp_path)
    code = """
        import sys
        from slfac.cli import main
        main(["profile", "sensors", "--root", sys.argv[1], "--measure-s", "0"])
        heavy = {"torch", "onnx", "onnxruntime", "numpy", "zmq", "pydantic", "rich", "smbus2"}
        print(*sorted({*heavy, "http.client", "ssl"} & set(sys.modules)), file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines()), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stderr == "\n"
    assert "1 found" in done.stdout


def test_this_machine_is_looked_at_without_a_root(capsys):
    assert main(["profile", "sensors", "--measure-s", "0"]) == 0
    assert "would be read" in capsys.readouterr().out
