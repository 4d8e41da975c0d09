"""``slfac profile calibrate``: both from end to end with sensors of files, and what is refused."""

import contextlib
import random
import threading

import pytest

from harness.boards import orin_nano, pi5
from slfac.cli import main
from slfac.device.energy import host as energy_host
from slfac.device.energy.host import Host
from slfac.device.profiling.gain import Workers
from slfac.device.profiling.link import Peer
from slfac.hw_profiles import Value, check_profile, load_profile, write_profile
from slfac.hw_profiles.schema import Sensor

pytestmark = pytest.mark.device


@pytest.fixture
def peer():
    """The address of a peer on this machine."""
    ended = threading.Event()
    made = Peer("tcp://127.0.0.1:*", None, [].append)
    thread = threading.Thread(target=lambda: made.serve(lambda: not ended.is_set()))
    thread.start()
    yield made.address
    ended.set()
    thread.join()
    made.close()


@pytest.fixture
def meter(tmp_path):
    """A file to which a meter writes a hundred lines a second."""
    ended = threading.Event()
    path = tmp_path / "meter.txt"
    path.write_text("power_w\n")

    def write():
        rng = random.Random(0)
        with path.open("a", buffering=1) as file:
            while not ended.wait(0.01):
                file.write(f"{2.5 + rng.gauss(0, 0.01):.4f}\n")

    thread = threading.Thread(target=write)
    thread.start()
    yield path
    ended.set()
    thread.join()


@pytest.fixture
def profile(tmp_path):
    """A profile without a figure of energy."""
    write_profile(load_profile("x86"), tmp_path / "board.toml")
    return tmp_path / "board.toml"


@pytest.fixture
def calibrate(capsys):
    """Runs the command; gives its exit code, output and errors."""

    def run(*arguments):
        code = main(["profile", "calibrate", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


SHORT = ("--block-s", "0.08", "--idle-s", "0.1", "--settle-s", "0.05")


def test_a_radio_is_calibrated_from_end_to_end(calibrate, peer, meter, profile):
    given = ("radio", "--peer", peer, "--insecure", "--link", "wifi", "--profile", profile)
    sensor = ("--meter-file", meter, "--meter-hz", "100", "--note", "5 GHz, 3 m")
    code, out, err = calibrate(*given, *sensor, *SHORT, "--allow-loopback")
    assert code == 0, err
    said = err.splitlines()
    assert said[0].startswith("slfac profile calibrate: 40 blocks, ")
    assert sum(": block " in line for line in said) == 40
    for name in ("send_j_per_mb", "receive_j_per_mb", "j_per_frame", "send_w", "receive_w"):
        assert f"\n{name} " in out
    assert "blocks count, " in out
    assert out.endswith(f"link wifi of {profile} is written\n")
    assert check_profile(profile) == []
    (wifi,) = [link for link in load_profile(profile).links if link.name == "wifi"]
    assert wifi.note == "5 GHz, 3 m"
    for figure in (wifi.send_j_per_mb, wifi.send_w, wifi.j_per_frame):
        assert figure is None or "sensor meter of the board through lo" in figure.source


class Steps:
    """Loads that write what a sensor and a meter say into their files."""

    def __init__(self, board, own, meter):
        self.board, self.own, self.meter = board, own, meter
        self.rng = random.Random(1)

    @contextlib.contextmanager
    def busy(self, load):
        """Draw what a load draws: the meter sees 1.25 W a watt and half a watt more."""
        milliamperes = 400 + 150 * load.cores + 60 * (load.kind == "copy")
        (self.own / "curr1_input").write_text(f"{milliamperes}\n")
        watts = 5.104 * milliamperes / 1e3
        shown_w = 1.25 * watts + 0.5 + self.rng.gauss(0, 0.003)
        (self.meter / "power1_input").write_text(f"{round(1e6 * shown_w)}\n")
        yield


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """An Orin Nano with an INA226 in its supply, and loads that show there."""
    board = orin_nano(tmp_path / "tree")
    (own,) = [file.parent for file in (board.root / "sys/devices").rglob("in1_label")]
    files = {"in1_input": 19000, "curr1_input": 300, "power1_input": 5_000_000}
    meter = board.hwmon("ina226", "7-0040", "i2c", **files)
    # Its files, and the real clock.
    monkeypatch.setattr(energy_host, "host_at", lambda _: Host(board.root, run=board.host.run))
    steps = Steps(board, own, meter)
    monkeypatch.setattr(Workers, "busy", lambda _, load: steps.busy(load))
    return board


def test_a_gain_is_calibrated_and_applied(bench, calibrate, profile, capsys):
    given = ("gain", "--sensor", "jetson", "--meter", "ina2xx", "--profile", profile)
    timing = ("--step-s", "0.25", "--settle-s", "0.08")
    code, out, err = calibrate(*given, *timing)
    assert code == 0, err
    assert "slfac profile calibrate: jetson against ina2xx@7-0040" in err
    assert "the meter is " in out
    assert "--calibration" in out.splitlines()[-1]
    assert check_profile(profile) == []
    (jetson,) = [s for s in load_profile(profile).sensors if s.driver == "jetson"]
    assert (jetson.scope, jetson.gain_scope, jetson.total) == ("module", "board", ("VDD_IN",))
    assert jetson.gain.kind == jetson.offset_w.kind == "calibrated"
    assert jetson.gain.low <= 1.25 <= jetson.gain.high
    assert jetson.offset_w.low <= 0.5 <= jetson.offset_w.high
    assert "sensor jetson of the module against ina2xx@7-0040 of the board" in jetson.gain.source
    listing = ["profile", "sensors", "--root", str(bench.root), "--measure-s", "0"]
    code = main([*listing, "--sensor", "jetson", "--calibration", str(profile)])
    said = capsys.readouterr().out
    assert code == 0
    assert "jetson:calibrated  board" in said
    assert f"by {profile} (slfac profile calibrate gain: sensor jetson" in said
    assert said.endswith("jetson:calibrated would be read\n")


def test_the_published_fit_of_a_pi_5_is_marked_as_anothers(tmp_path, capsys):
    pi5(tmp_path)
    command = ["profile", "sensors", "--root", str(tmp_path), "--measure-s", "0"]
    # No programs are run for a copied tree, so that the sensor is passed over there.
    assert main([*command, "--calibration", "pi-5"]) == 2
    said = capsys.readouterr()
    assert "calibration is by pi-5 on another board (jfikar/RPi5-power" in said.err
    assert main([*command, "--calibration", "pi-4b"]) == 2
    assert "that profile has no sensor with gain and offset_w" in capsys.readouterr().err
    assert main([*command, "--calibration", "nowhere.toml"]) == 2
    assert "cannot read nowhere.toml" in capsys.readouterr().err


RADIO = ("radio", "--insecure", "--link", "wifi")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--peer", "tcp://127.0.0.1:1"], 2, "which is this machine: no radio would be measured"),
        (["--peer", "tcp://localhost:1"], 2, "which is this machine"),
        (["--peer", "nonsense"], 31, "malformed"),
        (["--peer", "tcp://127.0.0.1:1", "--repetitions", "4"], 2, "repetitions is 4"),
        (["--peer", "tcp://127.0.0.1:1", "--block-s", "0"], 2, "block_s is 0"),
        (
            ["--peer", "tcp://127.0.0.1:1", "--allow-loopback", "--sensor", "none"],
            70,
            "there is no power sensor, and so no joules of a radio; `slfac profile sensors` lists",
        ),
        (
            ["--peer", "tcp://127.0.0.1:1", "--allow-loopback", "--meter-file", "nowhere.csv"],
            70,
            "nowhere.csv cannot be read",
        ),
        (["--peer", "tcp://127.0.0.1:1", "--note", "a\tb"], 2, "--note is 'a\\tb'"),
    ],
)
def test_radios_that_cannot_be_calibrated_are_refused(arguments, code, said, calibrate, profile):
    before = profile.read_bytes()
    given, out, err = calibrate(*RADIO, *arguments, "--profile", profile)
    assert (given, out) == (code, "")
    (line,) = err.splitlines()
    assert said in line
    assert profile.read_bytes() == before


def test_powers_of_another_scope_are_refused_before_minutes_pass(calibrate, peer, meter, tmp_path):
    board = tmp_path / "nano.toml"
    write_profile(load_profile("orin-nano"), board)  # of the module
    given = (*RADIO, "--peer", peer, "--allow-loopback", "--meter-file", meter)
    code, _, err = calibrate(*given, "--profile", board)
    assert code == 2
    assert "sensor meter measures the board, and the profile's powers are of the module" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--meter", "ina2xx"], 2, "--sensor is missing"),
        (["--sensor", "jetson"], 2, "which meter is the truth is not said"),
        (["--sensor", "jetson", "--meter", "ina2xx", "--step-s", "1"], 2, "settle_s is 2"),
        (["--sensor", "jetson", "--meter", "jetson"], 2, "jetson is no meter, but a sensor"),
        (["--sensor", "ina2xx", "--meter", "ina2xx"], 2, "ina2xx@7-0040 is its own meter"),
        (["--sensor", "rapl", "--meter", "ina2xx"], 2, "there is no sensor 'rapl'"),
        (
            ["--sensor", "jetson", "--meter", "ina2xx", "--calibration", "pi-5"],
            2,
            "--calibration is given; a calibration starts from the sensor as it is",
        ),
        (["--sensor", "jetson", "--meter", "ina2xx", "--scope", "board"], 2, "that is no more"),
    ],
)
def test_gains_that_cannot_be_told_are_refused(arguments, code, said, *, bench, calibrate, profile):
    assert bench.root.is_dir()
    before = profile.read_bytes()
    given, out, err = calibrate("gain", *arguments, "--profile", profile)
    assert (given, out) == (code, "")
    (line,) = err.splitlines()
    assert said in line
    assert profile.read_bytes() == before


def test_loads_that_do_not_show_are_refused(bench, calibrate, profile, monkeypatch):
    monkeypatch.setattr(Workers, "busy", lambda *_: contextlib.nullcontext())
    given = ("gain", "--sensor", "jetson", "--meter", "ina2xx")
    timing = ("--step-s", "0.1", "--settle-s", "0.02", "--profile", profile)
    code, out, err = calibrate(*given, *timing)
    assert (code, out) == (70, "")
    assert "the meter does not follow the loads" in err.splitlines()[-1]
    assert bench.root.is_dir()


def test_a_gain_of_unknown_scope_is_not_applied(tmp_path, capsys):
    figure = Value(value=1.1, kind="calibrated", source="somebody's meter")
    sensor = Sensor(driver="rapl", scope="unknown", gain=figure, offset_w=figure)
    profile = load_profile("pi-4b")
    path = tmp_path / "b.toml"
    write_profile(type(profile)(**{**_fields(profile), "sensors": (sensor,)}), path)
    assert main(["profile", "sensors", "--measure-s", "0", "--calibration", str(path)]) == 2
    assert "has no sensor with gain and offset_w" in capsys.readouterr().err


def _fields(profile):
    return {name: getattr(profile, name) for name in profile.__struct_fields__}
