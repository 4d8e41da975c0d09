"""The first boot: what it applies, what it wipes, and that power may go at any time."""

import ast
import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from harness.fake_board import FakeBoard
from slfac.device.config import configured_settings
from slfac.device.image.board import firstboot
from slfac.device.image.settings import Personal, Wifi, pack_document, personal_document
from slfac.wire.keys import device_keys

pytestmark = pytest.mark.device

SERVER_KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
PSK = "5ec2e7" * 10 + "beef"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILxSVT2HAHbR84Y8DyAmA22IP5A0aHiU91AdPD5Fvw0 me@laptop"
SSID = b"lab \xff\"'$(x)\n"
SOURCE = Path(firstboot.__file__)


def settings(**changes):
    """Everything that can be injected, in the file's form."""
    given = {
        "hostname": "pi-1",
        "timezone": "Europe/Berlin",
        "ssh_keys": (SSH,),
        "wifi": Wifi(ssid=SSID.hex(), psk=PSK, country="DE", hidden=True),
        "server": "tcp://10.0.0.5:5555",
        "server_key": SERVER_KEY,
        "data": "MY STICK/mnist",
        "config": {"threads": 2, "low_memory": True, "provider": "auto"},
        **changes,
    }
    return pack_document(personal_document(Personal(**given)))


def pair():
    from slfac.device.image.settings import KeyTexts

    public, secret = zmq.curve_keypair()
    return KeyTexts(public=public.decode(), secret=secret.decode())


@pytest.fixture
def board(tmp_path):
    return FakeBoard(tmp_path / "root")


def test_everything_that_was_injected_is_applied(board, capsys):
    keys = pair()
    board.inject(settings(keys=keys))
    assert board.start() == []
    assert board.read("etc/hostname") == "pi-1\n"
    assert board.read("proc/sys/kernel/hostname") == "pi-1"
    assert board.read("etc/hosts") == "127.0.0.1\tlocalhost\n127.0.1.1\tpi-1\n"
    assert str((board.root / "etc/localtime").readlink()) == "/usr/share/zoneinfo/Europe/Berlin"
    assert board.read("etc/timezone") == "Europe/Berlin\n"
    assert board.read("home/pi/.ssh/authorized_keys") == f"{SSH}\n"
    assert board.read("etc/modprobe.d/slfac-wifi.conf").endswith("ieee80211_regdom=DE\n")
    assert device_keys(board.root / "etc/slfac/keys").own.secret.decode() == keys.secret
    assert device_keys(board.root / "etc/slfac/keys").server.decode() == SERVER_KEY
    assert "LABEL=MY\\040STICK /var/lib/slfac/data auto ro,nosuid" in board.read("etc/fstab")
    assert board.read("etc/fstab").startswith("LABEL=root / ext4 ")
    assert not (board.boot / "device.json").exists()
    assert f"the key of pi-1 is {keys.public}" in capsys.readouterr().out


def test_the_settings_are_what_the_device_reads(board):
    board.inject(settings())
    assert board.start() == []
    told = configured_settings(board.root / "etc/slfac/device.toml")
    assert (told.server, told.threads, told.low_memory) == ("tcp://10.0.0.5:5555", 2, True)
    assert told.data == Path("/var/lib/slfac/data/mnist")
    assert told.keys == Path("/etc/slfac/keys")


def test_secrets_are_their_owners_alone(board):
    board.inject(settings(keys=pair()))
    board.start()

    def mode(name):
        return (board.root / name).stat().st_mode & 0o777

    assert mode("etc/slfac/keys") == 0o700
    assert mode("etc/slfac/keys/device.key_secret") == 0o600
    assert mode("etc/wpa_supplicant/slfac.conf") == 0o600
    assert mode("home/pi/.ssh") == 0o700
    assert mode("home/pi/.ssh/authorized_keys") == 0o600
    assert mode("etc/slfac/device.toml") == 0o644
    owned = [command for command in board.ran if command[0] == "chown"]
    keys = str(board.root / "etc/slfac/keys")
    assert ["chown", "slfac:slfac", f"{keys}/device.key_secret.new"] in owned
    assert ["chown", "-R", "slfac:slfac", keys] in owned
    assert any(command[1] == "1000:1000" for command in owned)


def test_what_was_injected_is_overwritten_where_it_lay(board, tmp_path):
    path = board.inject(settings())
    size = path.stat().st_size
    (tmp_path / "same").hardlink_to(path)
    assert board.start() == []
    assert (tmp_path / "same").read_bytes() == bytes(size)
    assert [name for name, text in board.tree().items() if PSK in text] == [
        "etc/wpa_supplicant/slfac.conf"
    ]


def test_a_board_without_keys_makes_them_and_shows_the_public_half(board, capsys):
    board.inject(settings())
    board.start()
    own = device_keys(board.root / "etc/slfac/keys").own
    key = own.public.decode()
    assert board.read("etc/issue.d/slfac.issue") == f"slfac: the key of pi-1 is {key}\n"
    shown = (board.boot / "pi-1.key").read_text()
    assert key in shown
    assert own.secret.decode() not in shown
    assert own.secret.decode() not in capsys.readouterr().out
    # Once: the server knows this one.
    board.inject(settings())
    board.start()
    assert device_keys(board.root / "etc/slfac/keys").own.public.decode() == key


def test_the_hint_is_the_command_that_lets_it_in(board, capsys, tmp_path):
    from slfac.cli import main
    from slfac.wire.keys import AllowList

    board.inject(settings())
    board.start()
    hint = re.search(r"slfac (keys enroll \S+ \S+ --dir keys)", capsys.readouterr().out)[1]
    server = tmp_path / "server"
    assert main(["keys", "new", "server", "--dir", str(server / "keys")]) == 0
    (server / "pi-1.key").write_bytes((board.boot / "pi-1.key").read_bytes())
    with contextlib.chdir(server) if sys.version_info >= (3, 11) else changed(server):
        assert main(hint.split()) == 0
    own = device_keys(board.root / "etc/slfac/keys").own
    assert AllowList(server / "keys").name_of(own.public.decode()) == "pi-1"


@contextlib.contextmanager
def changed(folder):
    before = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)


def test_the_names_of_networks_need_no_escaping(tmp_path):
    board = FakeBoard(tmp_path / "a")
    board.inject(settings())
    assert board.start() == []
    assert board.read("etc/wpa_supplicant/slfac.conf") == (
        f"country=DE\nnetwork={{\n    ssid={SSID.hex()}\n    scan_ssid=1\n    psk={PSK}\n}}\n"
    )
    other = FakeBoard(tmp_path / "b", wifi="NetworkManager")
    other.inject(settings())
    assert other.start() == []
    text = other.read("etc/NetworkManager/system-connections/slfac-wifi.nmconnection")
    assert f"ssid={''.join(f'{byte};' for byte in SSID)}\nhidden=true\n" in text
    assert f"key-mgmt=wpa-psk\npsk={PSK}\n" in text
    assert re.search(r"^uuid=[0-9a-f-]{36}$", text, re.MULTILINE)
    assert not (other.root / "etc/wpa_supplicant").exists()


def test_an_open_network_has_no_key(tmp_path):
    wifi = Wifi(ssid=b"cafe".hex(), country="US")
    board = FakeBoard(tmp_path / "a")
    board.inject(settings(wifi=wifi))
    board.start()
    assert "    key_mgmt=NONE\n" in board.read("etc/wpa_supplicant/slfac.conf")
    board = FakeBoard(tmp_path / "b", wifi="NetworkManager")
    board.inject(settings(wifi=wifi))
    board.start()
    text = board.read("etc/NetworkManager/system-connections/slfac-wifi.nmconnection")
    assert "wifi-security" not in text


def test_a_generic_image_starts_and_trains_not(board):
    before = board.tree()
    assert board.start() == []
    changed = {name for name, text in board.tree().items() if before.get(name) != text}
    assert changed == set()
    assert board.ran == []


def test_settings_that_are_injected_again_are_applied_again(board):
    first = settings()
    board.inject(first)
    board.start()
    board.put("etc/slfac/device.toml", "spoilt by hand")
    board.inject(first)
    assert board.start() == []
    assert "spoilt" not in board.read("etc/slfac/device.toml")
    board.inject(settings(hostname="pi-2", data="OTHER/set"))
    assert board.start() == []
    assert board.read("etc/hostname") == "pi-2\n"
    assert board.read("etc/fstab").count("/var/lib/slfac/data") == 1
    assert board.read("home/pi/.ssh/authorized_keys") == f"{SSH}\n"
    assert (board.boot / "pi-2.key").exists()


def test_what_somebody_set_up_by_hand_stays(board):
    board.put("home/pi/.ssh/authorized_keys", "ssh-rsa mine")
    board.put("etc/hosts", "10.0.0.5 server\n")
    board.inject(settings())
    board.start()
    assert board.read("home/pi/.ssh/authorized_keys") == f"ssh-rsa mine\n{SSH}\n"
    assert board.read("etc/hosts") == "10.0.0.5 server\n127.0.1.1\tpi-1\n"


def test_without_an_ordinary_user_root_may_log_in(board):
    board.put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nbroken\n")
    board.inject(settings())
    board.start()
    assert board.read("root/.ssh/authorized_keys") == f"{SSH}\n"


class PowerLoss(BaseException):
    """The plug was pulled."""


def lose_power(monkeypatch, after):
    """Let power go at a system call that changes the disk; which calls came before."""
    calls = []

    def watch(name, real):
        def call(*arguments, **keywords):
            calls.append(name)
            if len(calls) == after:
                raise PowerLoss
            return real(*arguments, **keywords)

        return call

    for owner, name in (
        *((os, "fsync"), (os, "open"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")),
        *((Path, "symlink_to"), (Path, "chmod")),
    ):
        monkeypatch.setattr(owner, name, watch(name, getattr(owner, name)))
    return calls


@pytest.mark.parametrize("own_keys", [False, True])
def test_power_may_go_at_any_time(tmp_path, monkeypatch, own_keys):
    data = settings(keys=None if own_keys else pair())
    whole = FakeBoard(tmp_path / "whole")
    whole.inject(data)
    with monkeypatch.context() as patch:
        calls = lose_power(patch, after=0)
        assert whole.start() == []
    expected = whole.tree()
    assert len(calls) > 50
    for after in range(1, len(calls) + 1):
        board = FakeBoard(tmp_path / f"{after}")
        board.inject(data)
        with monkeypatch.context() as patch:
            lose_power(patch, after)
            with contextlib.suppress(PowerLoss):
                board.start()
        assert board.start() == []
        tree = board.tree()
        if own_keys:
            device_keys(board.root / "etc/slfac/keys")
            tree = {name: text for name, text in tree.items() if "key" not in text}
            expected = {name: text for name, text in expected.items() if "key" not in text}
        assert tree == expected, calls[after - 1]


def test_half_of_a_key_pair_is_made_anew(board):
    board.put("etc/slfac/keys/device.key_secret", "")
    board.put("etc/slfac/keys/device.key", "cut sho")
    board.inject(settings())
    assert board.start() == []
    for path in (board.root / "etc/slfac/keys").iterdir():
        assert path.stat().st_size > 0
    device_keys(board.root / "etc/slfac/keys")


def test_a_state_that_is_damaged_counts_as_none(board):
    for text in ("", "{", "[]", '{"done": 5}', "\0" * 100):
        board.put("var/lib/slfac-firstboot/state.json", text)
        board.inject(settings())
        assert board.start() == []
        assert not (board.boot / "device.json").exists()


def said_in_file(board):
    return (board.boot / "error.txt").read_text()


def start_as_a_program(board):
    """As systemd does, but on the folder."""
    program = [sys.executable, "-I", str(SOURCE), "--root", str(board.root)]
    environment = {"PATH": str(board.root / "no-programs-here")}
    done = subprocess.run(
        program, capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_what_is_wrong_is_said_on_the_console_and_on_the_boot_partition(board):
    board.inject(b'{"schema": 1, "hostname": "Not A Name"}')
    printed = start_as_a_program(board)
    assert "slfac: setting hostname cannot be right" in printed
    assert said_in_file(board) == "setting hostname cannot be right\n"
    # It stays, to be looked at and injected again.
    assert (board.boot / "device.json").exists()
    board.inject(b'{"schema": 1, "hostname": "pi-1"}')
    start_as_a_program(board)
    assert not (board.boot / "error.txt").exists()
    assert board.read("etc/hostname") == "pi-1\n"


def test_one_stage_that_fails_holds_up_no_other(board):
    (board.root / "usr/share/zoneinfo/Europe/Berlin").unlink()
    board.inject(settings())
    (problem,) = board.start()
    assert problem.startswith("timezone: this system does not know the time zone Europe/Berlin")
    assert board.read("etc/hostname") == "pi-1\n"
    # Nothing secret hangs on it.
    assert not (board.boot / "device.json").exists()


def test_a_stage_with_a_secret_is_tried_again_at_the_next_boot(board):
    board.codes["slfac"] = 1
    path = board.inject(settings())
    (problem,) = board.start()
    assert problem.startswith("keys: `")
    assert problem.endswith("ended with 1")
    assert path.exists()
    assert board.read("etc/hostname") == "pi-1\n"
    board.codes.clear()
    assert board.start() == []
    assert not path.exists()


def test_other_settings_do_not_go_on_where_those_before_stopped(board):
    board.codes["slfac"] = 1
    board.inject(settings())
    board.start()
    board.codes.clear()
    board.inject(settings(hostname="pi-2"))
    assert board.start() == []
    assert board.read("etc/hostname") == "pi-2\n"
    assert (board.boot / "pi-2.key").exists()


def test_without_wifi_tools_it_says_so_and_keeps_the_settings(tmp_path):
    board = FakeBoard(tmp_path / "root", wifi="none")
    path = board.inject(settings())
    (problem,) = board.start()
    assert "neither NetworkManager nor wpa_supplicant" in problem
    assert path.exists()


HOSTILE = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b"[" * 60_000,
    b" " * 70_000,
    b'{"schema": 2}',
    b'{"schema": 1, "more": 1}',
    b'{"schema": 1, "hostname": 5}',
    b'{"schema": 1, "hostname": "a\\n127.0.0.1 bank"}',
    b'{"schema": 1, "hostname": "../../etc/passwd"}',
    b'{"schema": 1, "timezone": "../../etc/shadow"}',
    b'{"schema": 1, "timezone": "/etc/passwd"}',
    b'{"schema": 1, "ssh_keys": "ssh-ed25519 x"}',
    b'{"schema": 1, "ssh_keys": ["ssh-ed25519 AAAA\\ncommand=x"]}',
    b'{"schema": 1, "ssh_keys": [5]}',
    b'{"schema": 1, "ssh_keys": {"a": 1}}',
    b'{"schema": 1, "wifi": "lab"}',
    b'{"schema": 1, "wifi": {"ssid": "6", "country": "DE"}}',
    b'{"schema": 1, "wifi": {"ssid": "61"}}',
    b'{"schema": 1, "wifi": {"ssid": "61", "country": "DE", "psk": "}\\nx"}}',
    b'{"schema": 1, "wifi": {"ssid": "61", "country": "DE\\n"}}',
    b'{"schema": 1, "keys": {"public": "x"}}',
    b'{"schema": 1, "keys": {"secret": "x"}}',
    b'{"schema": 1, "server_key": "\\"\\n"}',
    b'{"schema": 1, "data_label": "x /etc ext4"}',
    b'{"schema": 1, "data_label": "x\\\\040"}',
    b'{"schema": 1, "config": ["x"]}',
    b'{"schema": 1, "config": {"a = 1\\nb": 1}}',
    b'{"schema": 1, "config": {"": 1}}',
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_settings_that_cannot_be_right_change_nothing(board, data):
    before = board.tree()
    board.inject(data)
    (problem,) = board.start()
    assert problem
    after = board.tree()
    assert after.pop("boot/firmware/slfac/device.json") is not None
    assert after == before


def test_no_message_shows_a_secret(board):
    for wifi in ({"psk": PSK}, {"psk": f"{PSK}0", "ssid": "61", "country": "DE"}):
        board.inject({"schema": 1, "wifi": wifi, "hostname": "pi-1"})
        assert PSK not in "".join(board.start())
    board.inject(b'{"schema": 1, "wifi": {"psk": "' + PSK.encode() + b'"')
    assert PSK not in "".join(board.start())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
NAMES = [*firstboot.FIELDS, *firstboot.OTHERS, "other"]


@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=4))
def test_settings_are_understood_or_refused(fields):
    data = json.dumps({"schema": 1, **fields}).encode()
    with contextlib.suppress(firstboot.StageError):
        firstboot.parse(data)


scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.just(0.5)


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]{1,9}", fullmatch=True), scalars))
def test_texts_and_numbers_come_through_toml_as_they_are(config):
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    nested = {"flat": config, "list": [*config.values()]}
    text = "".join(f"{name} = {firstboot.toml(value)}\n" for name, value in nested.items())
    assert tomllib.loads(text) == nested


@pytest.mark.parametrize("name", ["firstboot.py", "growroot.py"])
def test_what_runs_before_the_wheels_needs_nothing_but_python(name):
    tree = ast.parse((SOURCE.parent / name).read_text())
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported <= set(sys.stdlib_module_names)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(SOURCE.parent / name), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_board_and_the_workstation_have_one_opinion_of_settings():
    document = json.loads(settings(keys=pair()))
    assert firstboot.parse(json.dumps(document).encode()) == document
    assert document["schema"] == firstboot.SCHEMA
