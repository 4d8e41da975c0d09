"""Hosts over real SSH: made ready, and every way in which they cannot be."""

import contextlib
import socket
import stat
import threading

import asyncssh
import pytest

from harness.lab import Bench
from harness.sshd import loopback_hosts
from slfac.testbed.hosts.commands import bring_up, stop
from slfac.testbed.hosts.release import kind_of
from slfac.testbed.mnist5k import fetch_mnist5k
from slfac.wire.errors import AuthError, HostError, KeyFileError, LinkError, SettingsError
from slfac.wire.keys import read_public

FACTS = {
    "python": "3.11.2",
    "python_path": "/usr/bin/python3",
    "implementation": "CPython",
    "bits": 64,
    "system": "Linux",
    "machine": "aarch64",
    "libc": "glibc 2.36",
}


@pytest.fixture
def bench(tmp_path):
    with loopback_hosts(tmp_path, ["pi-1", "pi-2"]) as (hosts, key, known):
        bench = Bench(tmp_path, hosts, key, known, fetch_mnist5k())
        yield bench
        assert bench.left() == []


@pytest.fixture
def lone(tmp_path):
    """A testbed of one device."""
    with loopback_hosts(tmp_path, ["pi-1"]) as (hosts, key, known):
        yield Bench(tmp_path, hosts, key, known, fetch_mnist5k())


def up(bench, *, installed=True):
    bring_up(bench.lab(installed=installed), bench.console, install=False)


def test_up_exchanges_keys_and_no_secret_leaves_its_host(bench):
    up(bench)
    keys, server = bench.place("pi-1") / "keys", bench.place("server") / "keys"
    assert stat.S_IMODE((keys / "device.key_secret").stat().st_mode) == 0o600
    assert read_public(server / "allowed" / "pi-1.key") == read_public(keys / "device.key")
    assert read_public(keys / "server.key") == read_public(server / "server.key")
    assert {path.name for path in server.glob("*_secret")} == {"server.key_secret"}
    secret = (keys / "device.key_secret").read_text()
    public = read_public(keys / "device.key")
    up(bench)
    assert (keys / "device.key_secret").read_text() == secret
    assert read_public(server / "allowed" / "pi-1.key") == public
    assert bench.said().count("ready: ") == 6


def test_a_device_with_a_new_key_takes_its_old_ones_place(bench):
    up(bench)
    keys = bench.place("pi-2") / "keys"
    for path in keys.iterdir():
        path.unlink()
    up(bench)
    allowed = bench.place("server") / "keys" / "allowed"
    assert read_public(allowed / "pi-2.key") == read_public(keys / "device.key")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_slfac_is_brought_to_a_host_that_has_none_once(bench):
    bring_up(bench.lab(installed=False), bench.console, install=True)
    (release,) = (bench.work / "versions").glob("[!.]*")
    assert bench.said().count("sending slfac") >= 1
    bring_up(bench.lab(installed=False), bench.console, install=True)
    assert bench.said().count("sending slfac") <= 2
    assert (release / "bin" / "slfac").is_file()
    assert not (release / "lib" / "torch").exists()
    stop(bench.lab(), bench.console, purge=True)
    assert list(bench.work.rglob("*.py")) == []
    assert not bench.place("pi-1").exists()


def test_a_host_that_is_off_is_named_and_the_others_are_made_ready(bench):
    bench.hosts["pi-2"].stop()
    with pytest.raises(LinkError, match=r"pi-2: SSH cannot be reached at 127.0.0.1 port .*refused"):
        up(bench)
    assert "pi-1    ready" in bench.said()


def test_each_host_that_is_off_gets_a_line(bench):
    for host in bench.hosts.values():
        host.stop()
    with pytest.raises(LinkError, match="2 of 3 hosts cannot be used: pi-1, pi-2"):
        up(bench)
    assert bench.said().count("SSH cannot be reached") == 2


def test_something_else_that_listens_there(lone):
    def answer(listener):
        with contextlib.suppress(OSError), listener.accept()[0] as other:
            other.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        lone.values["devices"][0]["port"] = port
        known = lone.folder / "known_hosts"
        key = known.read_text().split(" ", 1)[1]
        known.write_text(f"[127.0.0.1]:{port} {key}")
        with pytest.raises(
            LinkError, match=f"pi-1: SSH cannot be reached at 127.0.0.1 port {port}"
        ):
            up(lone)
        thread.join()


def test_a_host_whose_key_is_not_known_is_not_talked_to(lone):
    known = lone.folder / "known_hosts"
    known.write_text("".join(known.read_text().splitlines(keepends=True)[1:]))
    port = lone.hosts["pi-1"].port
    with pytest.raises(AuthError) as refused:
        up(lone)
    assert f"has no key of 127.0.0.1 port {port}" in refused.value.what
    assert f"`ssh-keyscan -p {port} 127.0.0.1 >> {known}`" in refused.value.remedy


def test_no_file_of_host_keys(bench):
    (bench.folder / "known_hosts").unlink()
    with pytest.raises(AuthError, match="3 hosts cannot be used: pi-1, pi-2"):
        up(bench)
    assert bench.said().count("ssh-keyscan -p") == 2


def test_a_malformed_file_of_host_keys(lone):
    (lone.folder / "known_hosts").write_text("@nonsense x y z\n")
    with pytest.raises(KeyFileError, match="is no file of host keys"):
        up(lone)


def test_a_host_that_shows_another_key_is_refused(lone):
    host = lone.hosts["pi-1"]
    host.stop()
    for path in host.server.folder.glob("host_key*"):
        path.unlink()
    other = asyncssh.generate_private_key("ssh-ed25519")
    other.write_private_key(str(host.server.folder / "host_key"))
    (host.server.folder / "host_key").chmod(0o600)
    host.start()
    with pytest.raises(AuthError) as refused:
        up(lone)
    assert "pi-1: 127.0.0.1 port" in refused.value.what
    assert "shows another host key than" in refused.value.what
    assert f"ssh-keygen -R '[127.0.0.1]:{host.port}'" in refused.value.remedy


def test_a_user_key_that_is_not_let_in(lone):
    other = lone.folder / "other_key"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(other))
    lone.values["devices"][0]["key"] = str(other)
    with pytest.raises(AuthError) as refused:
        up(lone)
    assert refused.value.what.startswith("pi-1: 127.0.0.1 port")
    assert f"ssh-copy-id -i {other}" in refused.value.remedy


def test_a_user_who_is_not_let_in(lone):
    lone.values["devices"][0]["user"] = "nobody"
    with pytest.raises(AuthError, match=r"pi-1: .* does not let nobody in"):
        up(lone)


@pytest.mark.parametrize("kind", ["missing", "no key"])
def test_a_user_key_that_cannot_be_read(lone, kind):
    key = lone.folder / "a_key"
    if kind == "no key":
        key.write_text("nonsense")
    lone.values["devices"][0]["key"] = str(key)
    with pytest.raises(KeyFileError, match="pi-1: "):
        up(lone)


def test_a_python_that_is_not_there(lone):
    lone.values["devices"][0]["python"] = "/nowhere/python3"
    with pytest.raises(HostError, match="pi-1: `/nowhere/python3` does not run there"):
        up(lone)


def test_a_folder_that_cannot_be_made(lone):
    lone.values["devices"][0]["work"] = "/proc/slfac"
    with pytest.raises(HostError, match=r"pi-1: .*/proc"):
        up(lone)


def test_no_data_set(lone):
    lone.values["devices"][0]["data"] = "/nowhere/mnist"
    with pytest.raises(HostError, match="pi-1: there is no data set at /nowhere/mnist"):
        up(lone)


def test_a_server_that_devices_elsewhere_cannot_reach(lone):
    lone.values["devices"][0]["host"] = "10.0.0.11"
    with pytest.raises(SettingsError, match=r"server.host is 'localhost', where pi-1 cannot"):
        lone.lab()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"python": "3.9.2"}, "CPython 3.9.2, and slfac needs CPython 3.10 to 3.13"),
        ({"python": "3.14.0"}, "needs CPython 3.10 to 3.13"),
        ({"implementation": "PyPy"}, "is PyPy"),
        ({"bits": 32}, "32 bits; install a 64-bit Linux"),
        ({"machine": "armv7l"}, "Linux for armv7l"),
        ({"system": "Darwin"}, "Darwin"),
        ({"libc": "musl 1.2"}, "its C library is musl 1.2"),
        ({"libc": "glibc 2.27"}, "wheels need glibc 2.28"),
        ({"libc": ""}, "its C library is unknown"),
    ],
)
def test_hosts_that_have_no_wheels(what, words):
    assert kind_of("pi-1", FACTS) == ("cp311", "aarch64")
    with pytest.raises(HostError) as refused:
        kind_of("pi-1", {**FACTS, **what})
    assert words in str(refused.value)
    assert str(refused.value).startswith("pi-1: ")


def test_going_down_is_idempotent(bench):
    up(bench)
    for _ in range(2):
        stop(bench.lab(), bench.console, purge=True)
    assert not bench.place("pi-1").exists()
    assert not bench.place("server").exists()
