"""What is made of an offer on the network, which anyone there can make."""

import hashlib
import socket
import sys
from types import SimpleNamespace

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import IPVersion, ServiceInfo
from zmq.utils import z85

from slfac.wire.discovery import (
    SERVICE,
    Offer,
    fingerprint,
    open_zeroconf,
    read_offer,
    require_zeroconf,
)
from slfac.wire.errors import LinkError, MissingExtraError

OFFER = Offer("lab-0a1b", "0a1b", "ab" * 32, "0.1.0", ("tcp://10.0.0.5:5555",))


def service(name="lab-0a1b", port=5555, hosts=("10.0.0.5",), **changes):
    properties = {**OFFER.properties(), **changes}
    properties = {key: value for key, value in properties.items() if value is not None}
    return ServiceInfo(
        SERVICE, f"{name}.{SERVICE}", port=port, properties=properties, parsed_addresses=[*hosts]
    )


def test_an_offer_is_read_as_it_was_made():
    assert read_offer(service()) == OFFER


def test_an_offer_of_a_server_without_keys():
    assert read_offer(service(key="")).fingerprint == ""
    assert read_offer(service(key=None)).fingerprint == ""


def test_addresses_of_both_families_and_none_that_leads_nowhere():
    hosts = ("fd00::5", "::", "10.0.0.5", "224.0.0.251", "fe80::1")
    # Which link fe80:: is of, a record that came over no link does not say.
    assert set(read_offer(service(hosts=hosts)).addresses) == {
        "tcp://10.0.0.5:5555",
        "tcp://[fd00::5]:5555",
    }


def test_a_link_local_address_comes_with_the_link_that_it_came_over():
    info = ServiceInfo(
        SERVICE,
        f"lab-0a1b.{SERVICE}",
        port=5555,
        properties=OFFER.properties(),
        addresses=[b"\xfe\x80" + bytes(13) + b"\x01"],
        interface_index=3,
    )
    assert read_offer(info).addresses == ("tcp://[fe80::1%3]:5555",)


@pytest.mark.parametrize(
    "changes",
    [
        {"run": None},
        {"run": ""},
        {"run": "../x"},
        {"run": "a" * 64},
        {"run": "r\x1b[31m"},
        {"key": "ab" * 31},
        {"key": "AB" * 32},
        {"key": b"\xff" * 64},
        {"slfac": "0.1\n"},
        {"slfac": "x" * 64},
        {"name": "l\u00e4b"},
        {"port": 0},
        {"hosts": ()},
    ],
)
def test_what_is_no_offer_is_passed_over(changes):
    assert read_offer(service(**changes)) is None


@given(
    st.dictionaries(
        st.sampled_from([b"run", b"key", b"slfac", b"x"]), st.none() | st.binary(max_size=80)
    ),
    st.integers(0, 65535),
    st.lists(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), max_size=50),
)
def test_any_record_is_an_offer_or_none(properties, port, addresses):
    info = ServiceInfo(
        SERVICE, f"lab.{SERVICE}", port=port, properties=properties, addresses=addresses
    )
    offer = read_offer(info)
    assert offer is None or (len(offer.addresses) <= 32 and offer.run.isprintable())


def test_a_fingerprint_is_the_hash_of_the_key_itself():
    public, _ = zmq.curve_keypair()
    assert fingerprint(public) == hashlib.sha256(z85.decode(public)).hexdigest()


def test_a_missing_package_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(MissingExtraError, match="zeroconf") as caught:
        require_zeroconf()
    assert "slfac[discovery]" in caught.value.remedy
    assert "--server ADDRESS" in caught.value.remedy


@pytest.mark.parametrize("error", [OSError(19, "No such device"), RuntimeError("No adapter")])
def test_a_network_that_cannot_be_used_is_named(monkeypatch, error):
    def fail(**_):
        raise error

    monkeypatch.setattr("zeroconf.Zeroconf", fail)
    with pytest.raises(LinkError, match=r"no network interface can be used for mDNS: .*No "):
        open_zeroconf()


@pytest.fixture
def opened(monkeypatch):
    """What zeroconf is told, on a machine with such interfaces."""
    told = []
    monkeypatch.setattr("zeroconf.Zeroconf", lambda **options: told.append(options))

    def opened(**interfaces):
        addresses, states = {}, {}
        for name, (is_up, *hosts) in interfaces.items():
            families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host in hosts]
            addresses[name] = [
                SimpleNamespace(family=family, address=host)
                for family, host in zip(families, hosts, strict=True)
            ]
            states[name] = SimpleNamespace(isup=is_up)
        monkeypatch.setattr("psutil.net_if_addrs", lambda: addresses)
        monkeypatch.setattr("psutil.net_if_stats", lambda: states)
        monkeypatch.setattr("socket.if_nametoindex", lambda name: [*interfaces].index(name) + 1)
        open_zeroconf()
        return told[-1]["interfaces"], told[-1]["ip_version"]

    return opened


def test_all_interfaces_that_are_up_are_used(opened):
    lo = (True, "127.0.0.1", "::1")
    eth = (True, "10.0.0.5", "fe80::5%eth0", "fd00::5")
    assert opened(lo=lo, eth0=eth, wlan0=(False, "10.1.0.5", "fe80::6")) == (
        ["127.0.0.1", "10.0.0.5", 2],
        IPVersion.All,
    )


def test_a_system_without_ipv6_does_with_ipv4(opened):
    found = opened(lo=(True, "127.0.0.1"), eth0=(True, "10.0.0.5"))
    assert found == (["127.0.0.1", "10.0.0.5"], IPVersion.V4Only)
