"""What makes one board of an image: each setting, the file, and what is wrong with it."""

import base64
import contextlib
import json
import struct

import msgspec
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from slfac.device.image.settings import (
    Document,
    KeyTexts,
    Personal,
    Wifi,
    check_document,
    pack_document,
    personal_document,
    unpack_document,
)
from slfac.device.image.settings.wifi import derive_psk
from slfac.wire.errors import AddressError, SettingsError

pytestmark = pytest.mark.device

SERVER_KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
PSK = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"


def ssh_key(kind="ssh-ed25519", rest=b"\0\0\0\x20" + b"k" * 32):
    blob = struct.pack(">I", len(kind)) + kind.encode() + rest
    return f"{kind} {base64.b64encode(blob).decode()}"


SSH = f"{ssh_key()} me@laptop"


def pair():
    public, secret = zmq.curve_keypair()
    return KeyTexts(public=public.decode(), secret=secret.decode())


def full():
    """Everything that can be given."""
    return Personal(
        hostname="pi-1",
        timezone="Europe/Berlin",
        ssh_keys=(SSH,),
        wifi=Wifi(ssid=b"lab \xff\0\"'".hex(), psk=PSK, country="DE", hidden=True),
        server="tcp://10.0.0.5:5555",
        server_key=SERVER_KEY,
        keys=pair(),
        data="MY STICK/sets/mnist",
        config={"threads": 4, "provider": "auto"},
    )


# IEEE 802.11-2020, J.4.2: the standard's own test vectors.
@pytest.mark.parametrize(
    ("passphrase", "ssid", "psk"),
    [
        (b"password", b"IEEE", PSK),
        (
            b"ThisIsAPassword",
            b"ThisIsASSID",
            "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af",
        ),
        (
            b"a" * 32,
            b"Z" * 32,
            "becb93866bb8c3832cb777c2f559807c8c59afcb6eae734885001300a981cc62",
        ),
    ],
)
def test_the_standards_passphrases_give_its_keys(passphrase, ssid, psk):
    assert derive_psk(passphrase, ssid) == psk


def test_a_key_itself_is_taken_as_it_is():
    assert derive_psk(PSK.upper().encode(), b"any") == PSK


@pytest.mark.parametrize("passphrase", [b"", b"secret7", b"x" * 64, b"pass\tword", b"pass\x7fword"])
def test_a_passphrase_that_is_none_is_refused_and_not_shown(passphrase):
    with pytest.raises(SettingsError) as caught:
        derive_psk(passphrase, b"lab")
    assert caught.value.remedy
    assert not passphrase or passphrase.decode() not in str(caught.value)


def test_everything_that_is_given_comes_back_from_the_file():
    document = personal_document(full())
    assert unpack_document(pack_document(document)) == document
    assert document.data_label == "MY STICK"
    assert document.config == {
        "keys": "/etc/slfac/keys",
        "cache": "/var/lib/slfac/cache",
        "journal": "/var/lib/slfac/journal",
        "connect_timeout_s": 600.0,
        "wait_enrolled_s": 86400.0,
        "threads": 4,
        "provider": "auto",
        "server": "tcp://10.0.0.5:5555",
        "data": "/var/lib/slfac/data/sets/mnist",
    }
    assert document.has_secrets


def test_the_same_settings_give_the_same_bytes():
    personal = full()
    documents = {pack_document(personal_document(personal)) for _ in range(3)}
    assert len(documents) == 1


def test_a_board_without_a_server_is_one_that_does_not_train():
    document = personal_document(Personal(hostname="pi-1", ssh_keys=(SSH,)))
    assert document.config is None
    assert not document.has_secrets


def test_what_is_given_goes_before_the_file():
    told = Personal(
        server="tcp://10.0.0.9:1",
        server_key=SERVER_KEY,
        config={"discover": True, "data": "/srv/mnist", "wait_enrolled_s": 1.0},
    )
    config = personal_document(told).config
    assert (config["server"], config["wait_enrolled_s"]) == ("tcp://10.0.0.9:1", 1.0)
    assert "discover" not in config
    told = Personal(discover=True, server_key=SERVER_KEY, data="/srv/a", config={"data": "/srv/b"})
    assert personal_document(told).config["data"] == "/srv/a"


@pytest.mark.parametrize(
    ("changes", "said", "remedy"),
    [
        ({"hostname": "Pi-1"}, "setting hostname is 'Pi-1': ", "use 'pi-1'"),
        ({"hostname": ""}, "setting hostname is '': ", "such as pi-1"),
        ({"hostname": "pi_1"}, "setting hostname is 'pi_1': ", "such as pi-1"),
        ({"hostname": "-pi"}, "setting hostname is '-pi': ", ""),
        ({"hostname": "pi-"}, "setting hostname is 'pi-': ", ""),
        ({"hostname": "a.b"}, "setting hostname is 'a.b': ", ""),
        ({"hostname": "pi\n"}, "setting hostname is 'pi\\n': ", ""),
        ({"hostname": "a" * 64}, "setting hostname is 'aaaa", ""),
        ({"hostname": "localhost"}, "setting hostname is 'localhost': ", ""),
        ({"hostname": "10"}, "setting hostname is '10': ", ""),
        ({"timezone": "Europe/Berlim"}, "setting timezone is 'Europe/Berlim': ", "Europe/Berlin"),
        ({"timezone": "../../etc/shadow"}, "setting timezone is '../../etc/shadow': ", ""),
        ({"timezone": "/etc/passwd"}, "setting timezone is '/etc/passwd': ", ""),
        ({"ssh_keys": ("",)}, "setting ssh_keys is '': ", ""),
        ({"ssh_keys": (ssh_key("ssh-dss"),)}, "its type is not allowed", "use one of ssh-ed25519"),
        ({"ssh_keys": (f'command="x" {SSH}',)}, "its type is not allowed", ""),
        ({"ssh_keys": ("ssh-ed25519 AAAA",)}, "the key is damaged", ""),
        ({"ssh_keys": ("ssh-ed25519",)}, "the key is damaged", ""),
        ({"ssh_keys": ("ssh-ed25519 !!!!",)}, "the key is damaged", ""),
        ({"ssh_keys": (ssh_key().replace("ssh-ed25519", "ssh-rsa"),)}, "the key is damaged", ""),
        ({"ssh_keys": (f"{SSH}\nssh-rsa x",)}, "no line of a public key", ""),
        ({"ssh_keys": (SSH,) * 65}, "setting ssh_keys is 65: ", ""),
        ({"server": "10.0.0.5"}, "address '10.0.0.5' is malformed", "tcp://HOST:PORT"),
        ({"server": "tcp://*:5555"}, "is no server's", ""),
        ({"server_key": SERVER_KEY[:-1]}, "setting server_key is ", ".key file"),
        ({"server_key": "\u00e4" * 40}, "setting server_key is ", ""),
        ({"server_key": None}, "setting server_key is missing", "--server-key"),
        ({"server": None}, "setting server is missing", "--discover"),
        ({"server": None, "config": {}}, "setting server is missing", "--discover"),
        ({"data": None}, "setting data is missing", "--data DIR"),
        ({"data": "STICK/../x"}, "setting data is 'STICK/../x': ", ""),
        ({"data": "/x\0"}, "setting data is '/x\\x00': ", ""),
        ({"data": ""}, "setting data_label is '': ", "lsblk"),
        ({"data": "a,b/x"}, "setting data_label is 'a,b': ", "lsblk"),
        ({"config": {"threads": 0}}, "setting threads is 0: ", ""),
        ({"config": {"speed": 1}}, "setting speed is 1, but there is no such setting", ""),
        ({"config": {"name": "x"}}, "setting name is 'x', but keys are given", ""),
        ({"config": {"cache": "here"}}, "setting cache is 'here': a path on the board", ""),
        (
            {"config": {"energy": True, "energy_report": "joules.json"}},
            "setting energy_report is 'joules.json': a path on the board",
            "",
        ),
        ({"config": {"keys": "/root/keys"}}, "a board has its keys in /etc/slfac/keys", ""),
        ({"discover": True}, "but discover is set", ""),
        ({"keys": KeyTexts(public=SERVER_KEY, secret=SERVER_KEY)}, "is no pair", "slfac keys new"),
        ({"keys": KeyTexts(public=SERVER_KEY, secret=PSK)}, "is no pair", ""),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_a_remedy(changes, said, remedy):
    given = {field: getattr(full(), field) for field in full().__dataclass_fields__}
    with pytest.raises((SettingsError, AddressError)) as caught:
        personal_document(Personal(**{**given, **changes}))
    assert said in caught.value.what
    assert remedy in caught.value.remedy
    assert caught.value.remedy
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ssid": ""}, "setting wifi.ssid is '': 0 bytes"),
        ({"ssid": "61" * 33}, "33 bytes"),
        ({"ssid": "lab"}, "setting wifi.ssid is 'lab'"),
        ({"psk": "secret password"}, "setting wifi.psk is no key"),
        ({"psk": PSK + "\n"}, "setting wifi.psk is no key"),
        ({"country": "UK"}, "setting wifi.country is 'UK'"),
        ({"country": "de"}, "setting wifi.country is 'de'"),
        ({"country": "00"}, "setting wifi.country is '00'"),
    ],
)
def test_a_wrong_setting_of_the_wifi_is_named(changes, said):
    wifi = {"ssid": b"lab".hex(), "psk": PSK, "country": "DE", **changes}
    with pytest.raises(SettingsError) as caught:
        check_document(Document(wifi=Wifi(**wifi)))
    assert said in caught.value.what
    assert "secret password" not in str(caught.value)


@pytest.mark.parametrize(
    "octets", [b"x", b"\0", b"\xff" * 32, b'a"b\nc', "Gr\u00fc\u00df".encode()]
)
def test_a_networks_name_is_any_bytes(octets):
    check_document(Document(wifi=Wifi(ssid=octets.hex(), country="DE")))


def test_secrets_are_not_in_what_is_printed_of_a_key_pair():
    keys = pair()
    assert keys.secret not in repr(Document(keys=keys))


HOSTILE = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b'{"schema": "1"}',
    b'{"schema": 1, "hostname": 5}',
    b'{"schema": 1, "hostname": null, "unknown": 1}',
    b'{"schema": 1, "ssh_keys": "x"}',
    b'{"schema": 1, "wifi": {}}',
    b'{"schema": 1, "wifi": {"ssid": "61", "country": "DE", "password": "x"}}',
    b'{"schema": 1, "config": []}',
    b'{"schema": 1, "config": {"data": {}}}',
    b'{"schema": 1, "config": {"threads": 1e400}}',
    b'{"schema": 1, "keys": {"public": "a"}}',
    b'{"schema": 1, "server_key": "\\ud800"}',
    b'{"schema": 1, "hostname": "a"}}',
    b'{"schema": 1' + b"[" * 50_000,
    b'{"schema": 1, "ssh_keys": ' + b"[" * 50_000,
    b'{"schema": 1, "config": {"data": ' + b"[" * 50_000,
    b'{"schema": 1, "hostname": "' + b"a" * 70_000 + b'"}',
    b" " * 70_000,
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_a_file_that_is_none_is_refused(data):
    with pytest.raises((SettingsError, AddressError)) as caught:
        unpack_document(data)
    assert caught.value.remedy


def test_a_file_of_another_release_says_so():
    with pytest.raises(SettingsError, match="is of schema 2, this release reads 1"):
        unpack_document(b'{"schema": 2, "something": "new"}')


def test_more_settings_than_fit_are_refused():
    long = "x" * 1200
    document = Document(ssh_keys=tuple(f"{SSH}{number}{long}" for number in range(60)))
    with pytest.raises(SettingsError, match="leave some out"):
        pack_document(check_document(document))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(Document.__struct_fields__), values, max_size=4),
    st.dictionaries(st.sampled_from(["server", "data", "keys", "cache", "name"]), values),
)
def test_no_file_ends_in_anything_but_settings_or_a_remedy(fields, config):
    document = {"schema": 1, "config": config, **fields}
    with contextlib.suppress(SettingsError, AddressError):
        unpack_document(json.dumps(document).encode())


@given(
    st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z])?", fullmatch=True),
    st.binary(min_size=1, max_size=32),
    st.binary(min_size=8, max_size=63).map(lambda raw: bytes(32 + byte % 95 for byte in raw)),
)
def test_settings_that_may_be_survive_the_file(hostname, ssid, passphrase):
    wifi = Wifi(ssid=ssid.hex(), psk=derive_psk(passphrase, ssid), country="US")
    document = personal_document(
        Personal(
            hostname="h" + hostname,
            wifi=wifi,
            discover=True,
            server_key=SERVER_KEY,
            data="/srv/mnist",
        )
    )
    data = pack_document(document)
    assert unpack_document(data) == document
    assert passphrase not in data
    assert msgspec.json.decode(data)["wifi"]["ssid"] == ssid.hex()
