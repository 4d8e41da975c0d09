"""``slfac profile peer`` and ``link``: two processes, a written profile, and what is refused."""

import re
import signal
import subprocess
import sys

import pytest

from slfac.cli import main
from slfac.hw_profiles import check_profile, load_profile, write_profile
from slfac.wire.keys import AllowList, new_keys

pytestmark = pytest.mark.device
QUICK = ("--repetition-s", "0.01", "--sizes", "65536")


@pytest.fixture
def serving():
    """Starts peers in processes of their own; gives the process and its address."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "slfac.cli", "profile", "peer", *arguments]
        process = subprocess.Popen(
            [*command, "--bind", "tcp://127.0.0.1:*"], stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        first = process.stderr.readline()
        match = re.search(r"listening on (tcp://\S+), for (.*)", first)
        assert match, first
        return process, match[1], match[2]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run(capsys):
    """Runs a command; gives its exit code, output and errors."""

    def run(*arguments):
        code = main(["profile", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def profile(tmp_path):
    """A profile of one's own."""
    write_profile(load_profile("pi-4b"), tmp_path / "board.toml")
    return tmp_path / "board.toml"


def test_a_link_is_printed_and_written(serving, run, profile, tmp_path):
    server = new_keys(tmp_path / "server", "server")
    new_keys(tmp_path / "pi", "device", server)
    AllowList(tmp_path / "server").enroll("pi-4", tmp_path / "pi" / "device.key")
    process, address, names = serving("--keys", str(tmp_path / "server"))
    assert names == "pi-4"
    given = ("link", "--peer", address, "--keys", tmp_path / "pi", *QUICK)
    code, out, err = run(*given, "--profile", profile, "--link", "wifi", "--note", "AP of the lab")
    assert code == 0
    assert err.splitlines()[-1] == "slfac profile link: repetition 5 of 5"
    for row in (r"up +[\d.e+]+ Mbit/s +[\d.e+]+ to", r"round trip +[\d.e-]+ ms +[\d.e-]+ to"):
        assert re.search(rf"^{row}", out, re.MULTILINE)
    assert re.search(
        r"^sent in messages of 65536: .* MB on TCP, \d+ messages, \d+ packets$", out, 8
    )
    assert "the peer is on this machine: no radio and no cable was measured" in out
    assert out.endswith(f"link wifi of {profile} is written\n")
    assert check_profile(profile) == []
    (wifi,) = [link for link in load_profile(profile).links if link.name == "wifi"]
    assert wifi.note == "AP of the lab"
    for value in (wifi.up_mbits, wifi.down_mbits, wifi.rtt_ms):
        assert (value.kind, value.runs) == ("measured", 5)
        assert value.low <= value.value <= value.high
        assert value.source == f"slfac profile link, to the peer at {address} through lo"
    assert "pi-4 left after" in process.stderr.readline()


def test_ctrl_c_ends_a_peer(serving):
    process, _, names = serving("--insecure")
    assert names == "anyone on this machine"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "slfac profile: stopped\n"


def test_a_peer_imports_no_torch_and_no_numpy_it_does_not_need():
    code = (
        "import sys; from slfac.device.profiling.link.peer import Peer;"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["link", "--peer", "tcp://127.0.0.1:1"], 2, "--keys is missing; name the folder"),
        (["peer"], 2, "--keys is missing; name the folder with a server's keys"),
        (["peer", "--keys", "x", "--insecure"], 2, "do not go together"),
        (["peer", "--keys", "nowhere"], 32, "server.key_secret is missing"),
        (["peer", "--insecure"], 2, "insecure is set, but tcp://0.0.0.0:5566 is not a loopback"),
        (["peer", "--insecure", "--bind", "5566"], 31, "address '5566' is malformed"),
        (["link", "--peer", "x", "--insecure"], 31, "address 'x' is malformed"),
        (["link", "--peer", "tcp://10.0.0.1:1", "--keys", "nowhere"], 32, "is missing"),
        (
            ["link", "--peer", "tcp://127.0.0.1:1", "--insecure", "--link", "wifi"],
            2,
            "--link is given alone",
        ),
        (
            ["link", "--peer", "tcp://127.0.0.1:1", "--insecure", "--repetitions", "4"],
            2,
            "repetitions is 4; give 5 to 1000",
        ),
        (
            ["link", "--peer", "x", "--insecure", "--link", "a", "--profile", "nowhere.toml"],
            2,
            "there is no such file; `slfac profile run --out nowhere.toml` makes one",
        ),
    ],
)
def test_what_is_refused_is_one_line(arguments, code, said, run):
    given, out, err = run(*arguments)
    assert (given, out) == (code, "")
    (line,) = err.splitlines()
    assert line.startswith("slfac profile: ")
    assert said in line


def test_a_note_that_is_too_long_or_odd_is_refused_before_anything_is_measured(run, profile):
    given = ("link", "--peer", "tcp://127.0.0.1:1", "--insecure", "--profile", profile)
    for note in ("a\nb", "x" * 1001):
        code, _, err = run(*given, "--link", "wifi", "--note", note)
        assert code == 2
        assert "--note" in err


@pytest.mark.parametrize("name", ["", "x\ny"])
def test_a_link_must_have_a_name(name, run, profile):
    given = ("link", "--peer", "tcp://127.0.0.1:1", "--insecure", "--profile", profile)
    code, _, err = run(*given, "--link", name)
    assert code == 2
    assert "--link is" in err


@pytest.mark.parametrize(
    "action", [["peer"], ["link"], ["calibrate"], ["calibrate", "radio"], ["calibrate", "gain"]]
)
def test_help_has_an_example(action, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["profile", *action, "--help"])
    text = capsys.readouterr().out
    assert (
        f"example{'s' if 'examples' in text else ''}:\n  slfac profile {' '.join(action)}" in text
    )
