"""Key files and the allow-list: who can read them, and who is let in."""

import logging
import os
import stat
import time

import pytest
import zmq.auth

from slfac.wire.errors import KeyFileError
from slfac.wire.keys import AllowList, device_keys, new_keys, read_public, server_keys

pytestmark = pytest.mark.device


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def server(tmp_path):
    new_keys(tmp_path / "server", "server")
    return tmp_path / "server"


@pytest.fixture
def new_device(tmp_path, server):
    """Makes a device's folder; gives its public certificate."""

    def make(name):
        return new_keys(tmp_path / name, "device", server / "server.key")

    return make


def test_secret_keys_are_for_their_owner_alone(server, new_device):
    device = new_device("a").parent
    assert mode(server / "server.key_secret") == 0o600
    assert mode(device / "device.key_secret") == 0o600
    assert {path.name for path in server.iterdir()} == {"server.key", "server.key_secret"}
    assert {path.name for path in device.iterdir()} == {
        "device.key",
        "device.key_secret",
        "server.key",
    }


def test_public_files_hold_no_secret(server, new_device):
    device = new_device("a").parent
    for path in [server / "server.key", device / "device.key", device / "server.key"]:
        assert zmq.auth.load_certificate(path)[1] is None
        assert mode(path) & 0o444
    assert read_public(device / "server.key") == server_keys(server).public


def test_a_device_reads_its_own_pair_and_its_server(server, new_device):
    keys = device_keys(new_device("a").parent)
    assert keys.server == server_keys(server).public
    assert len(keys.own.public) == len(keys.own.secret) == 40
    assert keys.own.public != keys.server


def test_two_key_pairs_differ(new_device):
    a, b = (device_keys(new_device(name).parent).own for name in "ab")
    assert a.public != b.public
    assert a.secret != b.secret


def test_no_repr_shows_a_secret(server, new_device):
    own = server_keys(server)
    device = device_keys(new_device("a").parent)
    for text in (repr(own), str(own), repr(device), f"{device}"):
        assert own.secret.decode() not in text
        assert device.own.secret.decode() not in text
    assert own.public.decode() in repr(own)


def test_keys_are_not_overwritten(server):
    before = (server / "server.key_secret").read_bytes()
    with pytest.raises(KeyFileError, match="holds a server key already; choose another folder"):
        new_keys(server, "server")
    (server / "server.key").unlink()
    with pytest.raises(KeyFileError, match="holds a server key already"):
        new_keys(server, "server")
    assert (server / "server.key_secret").read_bytes() == before


def test_a_device_and_a_server_may_share_a_folder(server):
    new_keys(server, "device")
    assert device_keys(server).server == server_keys(server).public


def test_keys_for_a_device_need_a_real_server_key(tmp_path):
    wrong = tmp_path / "server.key"
    wrong.write_text("not a key")
    with pytest.raises(KeyFileError, match=r"server\.key is no readable key certificate"):
        new_keys(tmp_path / "a", "device", wrong)
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match=f"cannot write keys into {tmp_path / 'file'}"):
        new_keys(tmp_path / "file", "server")


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_secret_that_others_can_read_is_refused_with_the_remedy(server, bits):
    path = server / "server.key_secret"
    path.chmod(bits)
    with pytest.raises(KeyFileError) as caught:
        server_keys(server)
    assert f"mode {bits:04o}" in caught.value.what
    assert caught.value.remedy == f"chmod 600 {path}"
    path.chmod(0o400)
    assert server_keys(server).public == read_public(server / "server.key")


def test_missing_keys_name_the_command_that_makes_them(tmp_path):
    with pytest.raises(KeyFileError, match=r"server\.key_secret is missing.*`slfac keys new serve"):
        server_keys(tmp_path)
    with pytest.raises(KeyFileError, match=r"device\.key_secret is missing.*`slfac keys new devic"):
        device_keys(tmp_path)
    new_keys(tmp_path, "device")
    with pytest.raises(KeyFileError, match=r"server\.key is missing; copy server\.key"):
        device_keys(tmp_path)


def test_a_folder_of_keys_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="is missing: Not a directory"):
        server_keys(tmp_path / "file")
    with pytest.raises(KeyFileError, match="cannot read"):
        AllowList(tmp_path / "file").names()


KEY = b"a" * 40
MALFORMED = {
    "empty": b"",
    "binary": bytes(range(256)),
    "no value": b"curve\n    public-key\n",
    "short": b'curve\n    public-key = "abc"\n',
    "long": b'curve\n    public-key = "' + KEY + b'a"\n',
    "no Z85": b'curve\n    public-key = "' + b"~" * 40 + b'"\n',
    "too large": b'curve\n    public-key = "' + b"#" * 40 + b'"\n',
    "not ASCII": b'curve\n    public-key = "' + "é".encode() * 20 + b'"\n',
    "bad secret": b'curve\n    public-key = "' + KEY + b'"\n    secret-key = "abc"\n',
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_certificates_are_refused_everywhere(what, tmp_path, server):
    path = tmp_path / "wrong.key"
    path.write_bytes(MALFORMED[what])
    with pytest.raises(KeyFileError, match=r"wrong\.key (is no readable|holds a malformed) key"):
        read_public(path)
    with pytest.raises(KeyFileError, match=r"wrong\.key"):
        AllowList(server).enroll("a", path)
    assert AllowList(server).names() == []
    secret = server / "server.key_secret"
    secret.write_bytes(MALFORMED[what])
    with pytest.raises(KeyFileError, match=r"server\.key_secret"):
        server_keys(server)


def test_a_public_key_is_no_secret_one(server):
    secret = server / "server.key_secret"
    secret.write_bytes((server / "server.key").read_bytes())
    with pytest.raises(KeyFileError, match=r"server\.key_secret holds no secret key"):
        server_keys(server)


def test_a_secret_is_never_copied_where_a_public_key_goes(tmp_path, server, new_device):
    secret = new_device("a").parent / "device.key_secret"
    with pytest.raises(KeyFileError, match=r"key_secret holds a secret key; give the file"):
        AllowList(server).enroll("a", secret)
    with pytest.raises(KeyFileError, match="holds a secret key"):
        new_keys(tmp_path / "b", "device", server / "server.key_secret")
    assert not (server / "allowed").exists()


def test_enrolled_devices_are_known_by_their_keys(server, new_device):
    allowed = AllowList(server)
    for name in ("pi-10", "pi-2", "jetson", "pi-1"):
        allowed.enroll(name, new_device(name))
    assert allowed.names() == ["jetson", "pi-1", "pi-2", "pi-10"]
    key = read_public(new_device("stranger")).decode()
    assert allowed.name_of(key) is None
    key = read_public(server / "allowed" / "pi-2.key").decode()
    assert allowed.name_of(key) == "pi-2"


def test_a_revoked_device_is_out_and_may_come_back(server, new_device):
    allowed = AllowList(server)
    certificate = new_device("a")
    key = read_public(certificate).decode()
    allowed.enroll("a", certificate)
    allowed.revoke("a")
    assert allowed.name_of(key) is None
    assert (allowed.names(), allowed.revoked()) == ([], ["a"])
    allowed.enroll("a", certificate)
    assert allowed.name_of(key) == "a"


def test_a_change_by_another_process_is_seen_without_a_restart(server, new_device):
    seen, other = AllowList(server), AllowList(server)
    for turn in range(20):
        name = f"d{turn}"
        key = read_public(new_device(name)).decode()
        assert seen.name_of(key) is None
        other.enroll(name, server.parent / name / "device.key")
        assert seen.name_of(key) == name
        other.revoke(name)
        assert seen.name_of(key) is None


def test_two_changes_within_a_tick_of_the_clock_are_both_seen(server, new_device):
    seen, other = AllowList(server), AllowList(server)
    other.enroll("a", new_device("a"))
    folder = server / "allowed"
    tick_ns = time.time_ns() + 10**9
    os.utime(folder, ns=(tick_ns, tick_ns))
    assert seen.names() == ["a"]
    other.enroll("b", new_device("b"))
    os.utime(folder, ns=(tick_ns, tick_ns))
    assert seen.names() == ["a", "b"]


def test_an_unchanged_folder_is_not_read_again(server, new_device, monkeypatch):
    allowed = AllowList(server)
    certificate = new_device("a")
    allowed.enroll("a", certificate)
    key = read_public(certificate).decode()
    hour_ago_s = os.stat(server).st_mtime - 3600  # noqa: PTH116 - beside os.utime
    os.utime(server / "allowed", (hour_ago_s, hour_ago_s))
    assert allowed.name_of(key) == "a"
    read = []
    monkeypatch.setattr("slfac.wire.keys.read_public", read.append)
    assert allowed.name_of(key) == "a"
    assert read == []


@pytest.mark.parametrize(
    "name", ["", "A", "-a", ".a", "a b", "a/b", "../a", "a\n", "é", "٣", "a" * 64]
)
def test_malformed_names_are_refused(name, server, new_device):
    certificate = new_device("a")
    with pytest.raises(KeyFileError, match=r"device name .* is malformed; use lower-case letters"):
        AllowList(server).enroll(name, certificate)
    with pytest.raises(KeyFileError, match="no device"):
        AllowList(server).revoke(name)
    assert not (server / "allowed").exists()


def test_the_longest_name_is_taken(server, new_device):
    AllowList(server).enroll("a" * 63, new_device("a"))
    assert AllowList(server).names() == ["a" * 63]


def test_a_key_or_a_name_is_enrolled_once(server, new_device):
    allowed = AllowList(server)
    certificate = new_device("a")
    allowed.enroll("a", certificate)
    with pytest.raises(KeyFileError, match="this key is enrolled already, as 'a'"):
        allowed.enroll("b", certificate)
    with pytest.raises(KeyFileError, match="a device 'a' is enrolled already; `slfac keys revoke"):
        allowed.enroll("a", new_device("b"))
    assert allowed.names() == ["a"]


def test_revoking_nobody_says_who_there_is(server, new_device):
    allowed = AllowList(server)
    with pytest.raises(KeyFileError, match="no device 'x' is enrolled; enrolled are: -"):
        allowed.revoke("x")
    allowed.enroll("a", new_device("a"))
    with pytest.raises(KeyFileError, match="enrolled are: a"):
        allowed.revoke("x")


def test_files_that_are_no_certificates_are_passed_over_and_logged(server, new_device, caplog):
    allowed = AllowList(server)
    allowed.enroll("a", new_device("a"))
    (server / "allowed" / "junk.key").write_text("junk")
    (server / "allowed" / "Not A Name.key").write_bytes(new_device("b").read_bytes())
    with caplog.at_level(logging.WARNING):
        assert allowed.names() == ["a"]
    assert "junk.key is no readable key certificate" in caplog.text
    assert "Not A Name.key is not named as a device may be" in caplog.text
