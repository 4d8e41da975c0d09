"""``slfac image inject`` on the command line: what it takes, says, hides and refuses."""

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from harness.cards import boot_file, make_card
from slfac.cli import main
from slfac.device.image.settings import unpack_document
from slfac.wire.keys import new_keys

SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILxSVT2HAHbR84Y8DyAmA22IP5A0aHiU91AdPD5Fvw0 me@laptop"
# IEEE 802.11-2020, J.4.2.
PSK = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    return make_card(tmp_path_factory.mktemp("blank") / "blank.img").read_bytes()


@pytest.fixture
def place(tmp_path, blank, monkeypatch):
    """A folder to work in, with a card, keys, a password and data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.img").write_bytes(blank)
    new_keys(tmp_path / "keys", "server")
    new_keys(tmp_path / "pair", "device", tmp_path / "keys" / "server.key")
    (tmp_path / "pw").write_text("password\n")
    (tmp_path / "id.pub").write_text(f"# mine\n{SSH}\n\n")
    (tmp_path / "mnist").mkdir(mode=0o755)
    (tmp_path / "mnist" / "train.npz").write_text("x")
    (tmp_path / "more.toml").write_text('threads = 3\nserver = "tcp://10.0.0.9:1"\n')
    return tmp_path


pytestmark = [pytest.mark.device, pytest.mark.usefixtures("place")]


def inject(*options):
    return main(["image", "inject", "card.img", *options])


def document(place):
    return unpack_document(boot_file(place / "card.img", "slfac/device.json"))


TRAINS = ("--server", "tcp://10.0.0.5:5555", "--server-key", "keys/server.key")
WIFI = ("--wifi", "IEEE", "--wifi-country", "DE")


def test_everything_that_is_given_is_injected(place, capsys):
    more = ("--timezone", "Europe/Berlin", "--ssh-key", "id.pub", "--config", "more.toml")
    wifi = (*WIFI, "--wifi-password-file", "pw", "--wifi-hidden")
    assert inject("--hostname", "pi-1", *TRAINS, *wifi, *more, "--data", "mnist") == 0
    told = document(place)
    assert (told.hostname, told.timezone, told.ssh_keys) == ("pi-1", "Europe/Berlin", (SSH,))
    assert (told.wifi.psk, told.wifi.hidden, told.wifi.country) == (PSK, True, "DE")
    assert told.config["server"] == "tcp://10.0.0.5:5555"
    assert told.config["threads"] == 3
    assert (told.data_label, told.config["data"]) == ("slfac-data", "/var/lib/slfac/data/train.npz")
    assert told.keys is None
    said = capsys.readouterr().err
    assert "copying 1 files" in said
    assert "its own key: made by the board at its first boot" in said


def test_no_secret_is_shown(place, capsys):
    assert inject(*TRAINS, "--preenrolled", "pair", "--data-at", "/srv/mnist", *WIFI,
                  "--wifi-password-file", "pw") == 0  # fmt: skip
    assert inject("--show") == 0
    shown = "".join(capsys.readouterr())
    told = document(place)
    assert told.keys.public in shown
    assert "Wi-Fi: IEEE (key hidden, DE)" in shown
    for secret in (told.keys.secret, told.wifi.psk, "password"):
        assert secret not in shown
    assert b"password" not in boot_file(place / "card.img", "slfac/device.json")
    assert stat.S_IMODE((place / "card.img").stat().st_mode) == 0o600


def test_nothing_is_injected_to_begin_with(capsys):
    assert inject("--show") == 0
    assert capsys.readouterr().out == "nothing is injected\n"


def test_a_pair_brings_its_servers_key_along(place):
    arguments = ("--discover", "--preenrolled", "pair", "--data-at", "STICK/mnist")
    assert inject(*arguments) == 0
    told = document(place)
    assert told.server_key in (place / "keys" / "server.key").read_text()
    assert told.config["discover"] is True
    assert (told.data_label, told.config["data"]) == ("STICK", "/var/lib/slfac/data/mnist")


def test_a_servers_key_may_be_typed(place):
    key = document_key(place)
    assert inject("--discover", "--server-key", key, "--data-at", "/srv/mnist") == 0
    assert document(place).server_key == key


def document_key(place):
    text = (place / "keys" / "server.key").read_text()
    return text.split('public-key = "')[1].split('"')[0]


def test_a_password_is_taken_from_standard_input(place, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b"password\r\nmore")

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert inject(*WIFI, "--wifi-password-stdin") == 0
    assert document(place).wifi.psk == PSK


def test_a_password_is_asked_for_where_somebody_sits(place, monkeypatch):
    class Stdin:
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Stdin())
    monkeypatch.setattr(
        "getpass.getpass", lambda question: f"password{'IEEE' not in question or ''}"
    )
    assert inject(*WIFI) == 0
    assert document(place).wifi.psk == PSK


def test_a_networks_name_may_be_any_bytes(place):
    assert inject("--wifi", os.fsdecode(b"\xff\n'x"), "--wifi-country", "DE", "--wifi-open") == 0
    assert document(place).wifi.ssid == b"\xff\n'x".hex()
    assert document(place).wifi.psk is None


def test_a_board_that_will_not_train_is_said_to(capsys):
    assert inject("--hostname", "pi-1") == 0
    assert "neither --server nor --discover: this board will not train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 2, "nothing is to be injected"),
        (("--show", "--hostname", "pi-1"), 2, "--show injects nothing"),
        (("--hostname", "Pi 1"), 2, "setting hostname is 'Pi 1'"),
        (("--ssh-key", "pw"), 2, "its type is not allowed"),
        (("--ssh-key", "pair/device.key_secret"), 2, "setting ssh_keys is "),
        (("--ssh-key", "nowhere"), 2, "cannot read nowhere: No such file"),
        (("--ssh-key", "/dev/null"), 2, "/dev/null holds no public key"),
        (("--wifi", "", "--wifi-country", "DE", "--wifi-open"), 2, "a network's name has 1 to 32"),
        (("--wifi", "x" * 33, "--wifi-country", "DE", "--wifi-open"), 2, "33 bytes"),
        (("--wifi", "lab", "--wifi-open"), 2, "setting wifi_country is missing"),
        (("--wifi", "lab", "--wifi-country", "UK", "--wifi-open"), 2, "use GB"),
        (WIFI, 2, "pass --wifi-password-file FILE or --wifi-password-stdin; or --wifi-open"),
        ((*WIFI, "--wifi-password-file", "/dev/null"), 2, "the Wi-Fi password has 0 bytes"),
        ((*WIFI, "--wifi-password-file", "/dev/zero"), 2, "has more than 1024 bytes"),
        (("--wifi-hidden", "--hostname", "pi-1"), 2, "--wifi-hidden is given, but no network"),
        (("--discover", "--data-at", "/x"), 2, "setting server_key is missing"),
        (
            ("--discover", "--server-key", "nowhere", "--data-at", "/x"),
            32,
            "nowhere is no readable",
        ),
        (("--discover", "--server-key", "keys/server.key_secret"), 32, "holds a secret key"),
        ((*TRAINS, "--preenrolled", "keys"), 32, "device.key_secret is missing"),
        (TRAINS, 2, "setting data is missing"),
        ((*TRAINS, "--data", "nowhere"), 10, "nowhere is no folder"),
        ((*TRAINS, "--data-at", "/x", "--config", "nowhere"), 2, "cannot read nowhere"),
        ((*TRAINS, "--data-at", "/x", "--config", "pw"), 2, "is no TOML"),
        (
            ("--server", "10.0.0.5", "--server-key", "keys/server.key", "--data-at", "/x"),
            31,
            "tcp:",
        ),
    ],
)
def test_what_cannot_be_is_one_line(capsys, options, code, said):
    before = Path("card.img").read_bytes()
    assert inject(*options) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("slfac image: ")
    assert said in line
    assert Path("card.img").read_bytes() == before


def test_what_is_no_card_of_ours_is_refused(capsys):
    assert main(["image", "inject", "pw", "--hostname", "pi-1"]) == 80
    assert "pw is no image of slfac: there is no partition table" in capsys.readouterr().err
    assert main(["image", "inject", "nowhere", "--hostname", "pi-1"]) == 80
    assert "cannot read nowhere: No such file" in capsys.readouterr().err
