"""Addresses of both families: which pass, and what is said of the others."""

import pytest

from slfac.wire.addresses import (
    check_address,
    check_server_address,
    is_loopback,
    join_address,
    split_address,
)
from slfac.wire.errors import AddressError, SettingsError

pytestmark = pytest.mark.device

GOOD = [
    "tcp://10.0.0.5:5555",
    "tcp://0.0.0.0:0",
    "tcp://*:5555",
    "tcp://127.0.0.1:*",
    "tcp://board-1.local:65535",
    "tcp://[::1]:5555",
    "tcp://[fe80::1%eth0]:5555",
    "tcp://[fe80::1%enp3s0.100]:5555",
    "tcp://[fe80::1%br-lan]:5555",
    "tcp://[fd00::5]:5555",
    "tcp://localhost:1",
]
BAD = [
    "",
    "10.0.0.5:5555",
    "tcp://10.0.0.5",
    "tcp://10.0.0.5:",
    "tcp://:5555",
    "tcp://10.0.0.5:65536",
    "tcp://10.0.0.5:99999",
    "tcp://10.0.0.5:-1",
    "tcp://10.0.0.5:5555/",
    "tcp://10.0.0.5:5555\n",
    "tcp://10.0.0.5:five",
    "tcp://::1:5555",
    "tcp://[::1:5555",
    "tcp://[abc]:5555",
    "tcp://[1::2::3]:5555",
    "tcp://[127.0.0.1]:5555",
    "tcp://[::1%]:5555",
    "tcp://[fe80::1%a/b]:5555",
    "tcp://[٣::1]:5555",
    "tcp://user@host:5555",
    "tcp://a b:5555",
    "ipc:///tmp/x",
    "inproc://x",
    "http://10.0.0.5:5555",
]
LOOPBACK = [
    "tcp://127.0.0.1:1",
    "tcp://127.9.9.9:1",
    "tcp://localhost:1",
    "tcp://[::1]:1",
    "tcp://[::ffff:127.0.0.1]:1",
]
REACHABLE = [
    "tcp://0.0.0.0:1",
    "tcp://*:1",
    "tcp://[::]:1",
    "tcp://[::ffff:10.0.0.5]:1",
    "tcp://10.0.0.5:1",
    "tcp://board:1",
]


@pytest.mark.parametrize("address", GOOD)
def test_good_addresses_pass_unchanged(address):
    assert check_address(address) == address


@pytest.mark.parametrize("address", BAD)
def test_malformed_addresses_are_named_with_an_example(address):
    with pytest.raises(AddressError) as caught:
        check_address(address)
    assert repr(address) in caught.value.what
    assert "tcp://HOST:PORT" in caught.value.remedy


@pytest.mark.parametrize("address", LOOPBACK)
def test_without_keys_loopback_is_allowed(address):
    assert check_address(address, insecure=True) == address


@pytest.mark.parametrize("address", REACHABLE)
def test_without_keys_nothing_but_loopback_is_allowed(address):
    with pytest.raises(SettingsError, match=r"insecure is set, but .*; make keys with"):
        check_address(address, insecure=True)


def test_an_address_of_one_link_must_name_it():
    with pytest.raises(AddressError, match="does not say of which") as caught:
        check_address("tcp://[fe80::1]:5555")
    assert "tcp://[fe80::1%eth0]:5555" in caught.value.remedy


@pytest.mark.parametrize(
    "address",
    ["tcp://*:5555", "tcp://0.0.0.0:5555", "tcp://[::]:5555", "tcp://10.0.0.5:*", "tcp://board:0"],
)
def test_an_address_to_listen_on_is_none_to_connect_to(address):
    assert check_address(address) == address
    with pytest.raises(AddressError, match="is no server's; give the server's own address"):
        check_server_address(address)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("tcp://10.0.0.5:5555", "10.0.0.5", 5555),
        ("tcp://board-1.local:1", "board-1.local", 1),
        ("tcp://[::1]:80", "::1", 80),
        ("tcp://[fe80::1%eth0.7]:80", "fe80::1%eth0.7", 80),
    ],
)
def test_parts_of_an_address(address, host, port):
    assert split_address(address) == (host, port)
    assert join_address(host, port) == address


def test_the_port_that_the_system_chooses_is_zero():
    assert split_address("tcp://*:*") == ("*", 0)


@pytest.mark.parametrize("host", ["::1", "127.8.9.1", "localhost", "::ffff:127.0.0.1"])
def test_loopback(host):
    assert is_loopback(host)
    assert not is_loopback(f"{host}.board")
