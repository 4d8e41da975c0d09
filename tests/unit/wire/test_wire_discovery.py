"""What is made of an offer on the network, which anyone there can make."""

import hashlib
import sys

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
    tried = []

    def fail(**options):
        tried.append(options["ip_version"])
        raise error

    monkeypatch.setattr("zeroconf.Zeroconf", fail)
    with pytest.raises(LinkError, match=r"no network interface can be used for mDNS: .*No "):
        open_zeroconf()
    assert tried == [IPVersion.All, IPVersion.V4Only]


def test_a_system_without_ipv6_does_with_ipv4(monkeypatch):
    def four(**options):
        if options["ip_version"] is not IPVersion.V4Only:
            raise OSError(97, "Address family not supported by protocol")
        return "service"

    monkeypatch.setattr("zeroconf.Zeroconf", four)
    assert open_zeroconf() == "service"
