"""A device finds its server on the network, by real mDNS on this machine's loopback."""

import contextlib
import secrets
import socket
import sys

import pytest
import zmq

from harness.network import LOOPBACK
from harness.site import start_cli
from slfac.device import discovery
from slfac.device.connection import UnreachableError
from slfac.device.discovery import Discovered, browse
from slfac.server.announce import announced, make_offer, own_addresses
from slfac.wire.addresses import is_loopback, join_address, split_address
from slfac.wire.discovery import fingerprint
from slfac.wire.errors import LinkError
from slfac.wire.keys import DeviceKeys, KeyPair, new_keys, server_keys


@pytest.fixture
def keys():
    """A device's keys, for a server that nobody else has the key of."""
    server, _ = zmq.curve_keypair()
    return DeviceKeys(KeyPair(*zmq.curve_keypair()), server)


@pytest.fixture
def lines():
    return []


def new_run():
    return secrets.token_hex(6)


@pytest.fixture(scope="module")
def standing():
    """Two announced servers of one key: a name and a key of each, their runs and addresses."""
    public, _ = zmq.curve_keypair()
    with contextlib.ExitStack() as opened:
        servers = []
        for host in (LOOPBACK[0], LOOPBACK[-1]):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = opened.enter_context(socket.create_server((host, 0), family=family))
            address = join_address(host, listener.getsockname()[1])
            run = new_run()
            opened.enter_context(announced(address, run=run, key=public))
            servers.append((run, address))
        yield public, servers


def test_what_a_server_says_of_itself_arrives(standing):
    public, servers = standing
    key = fingerprint(public)
    runs = {run for run, _ in servers}
    seen = set()

    def both(offer):
        seen.add(offer.run)
        return runs <= seen

    found = {one.run: one for one in browse(20.0, both) if one.fingerprint == key}
    assert {run: found[run].addresses for run in runs} == {
        run: (address,) for run, address in servers
    }
    assert all(one.name.endswith(f"-{run}") for run, one in found.items())


def test_two_servers_of_the_key_are_named_and_neither_is_taken(standing, keys, lines):
    public, servers = standing
    where = Discovered(DeviceKeys(keys.own, public), lines.append)
    with pytest.raises(LinkError, match=r"2 servers of this device's server\.key") as caught:
        where.find(20.0)
    assert not isinstance(caught.value, UnreachableError)
    for run, address in servers:
        assert f"-{run} at {address}" in caught.value.what
    assert "--server ADDRESS" in caught.value.remedy


def test_after_a_break_it_looks_again_and_goes_on_with_its_run(standing, keys, lines, monkeypatch):
    public, servers = standing
    run, address = servers[1]
    where = Discovered(DeviceKeys(keys.own, public), lines.append)
    monkeypatch.setattr(where, "_address", "tcp://127.0.0.1:9")
    where.met(run)
    assert where.find(20.0) == "tcp://127.0.0.1:9", "first where it was"
    assert where.find(20.0) == address
    assert lines == [f"found server {make_offer(address, run=run, key=None).name} at {address}"]
    assert where.text == f"at {address}"


@pytest.mark.usefixtures("standing")
def test_a_server_of_another_key_is_passed_over_and_named(keys, lines):
    with pytest.raises(UnreachableError, match=r"that has the key in server\.key") as caught:
        Discovered(keys, lines.append).find(1.0)
    assert "others are" in caught.value.what
    assert "--announce" in caught.value.remedy
    assert "UDP port 5353" in caught.value.remedy
    assert lines[0] == "looking for the server on this network for 1 s more"


def test_the_server_is_not_there_yet(keys, lines, monkeypatch):
    monkeypatch.setattr(discovery, "_LOOK_S", 0.3)
    listened = []
    plain = discovery.browse

    def late(timeout_s, wanted):
        listened.append(timeout_s)
        if len(listened) < 3:
            return []
        return plain(10.0, wanted)

    monkeypatch.setattr(discovery, "browse", late)
    address = "tcp://127.0.0.1:5"
    alive = []
    with announced(address, run=new_run(), key=keys.server):
        where = Discovered(keys, lines.append, lambda: alive.append(0))
        assert where.find(20.0) == address
    assert len(alive) == 3
    assert [line.split(" for ")[0] for line in lines[:3]] == ["looking"] * 3
    assert lines[-1].endswith(f"at {address}")


def test_without_keys_only_a_keyless_server_on_loopback_is_taken(monkeypatch, lines):
    plain = discovery.Offer
    offers = [
        plain("a-1", "1", "", "", ("tcp://10.0.0.5:1",)),
        plain("b-2", "2", "ab" * 32, "", ("tcp://127.0.0.1:2",)),
        plain("c-3", "3", "", "", ("tcp://10.0.0.5:3", "tcp://127.0.0.1:3")),
    ]
    monkeypatch.setattr(discovery, "browse", lambda *_: offers)
    assert Discovered(None, lines.append).find(5.0) == "tcp://127.0.0.1:3"
    monkeypatch.setattr(discovery, "browse", lambda *_: offers[:2])
    with pytest.raises(UnreachableError):
        Discovered(None, lines.append).find(0.0)


def test_one_server_under_two_names_is_one_and_the_address_that_answers_is_taken(
    keys, lines, monkeypatch
):
    key = fingerprint(keys.server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = join_address("127.0.0.1", listener.getsockname()[1])
        offers = [
            discovery.Offer("lab-1", "1", key, "", ("tcp://127.0.0.1:9",)),
            discovery.Offer("lab-1-2", "1", key, "", ("tcp://127.0.0.2:9", address)),
        ]
        monkeypatch.setattr(discovery, "browse", lambda *_: offers)
        assert Discovered(keys, lines.append).find(5.0) == address


def test_addresses_of_a_server_that_listens_on_all():
    four = make_offer("tcp://0.0.0.0:5555", run="r", key=None).addresses
    both = make_offer("tcp://[::]:5555", run="r", key=None).addresses
    assert {split_address(one)[1] for one in both} == {5555}
    assert set(four) <= set(both)
    assert not any("[" in one for one in four)
    assert [split_address(one)[0] for one in both] == own_addresses(ipv6=True)
    others = [one for one in both if not is_loopback(split_address(one)[0])]
    assert len(others) in (0, len(both)), "loopback only where there is nothing else"


def test_a_network_without_interfaces_is_a_warning(monkeypatch, caplog):
    def fail(_):
        raise LinkError("no network interface can be used for mDNS: none", "check the network")

    monkeypatch.setattr("slfac.server.announce.open_zeroconf", fail)
    with announced("tcp://127.0.0.1:5", run="r", key=None):
        assert "not announced, so devices need --server" in caplog.text


def test_names_that_are_none_do_not_end_the_search(standing, monkeypatch):
    public, servers = standing
    import zeroconf

    plain, asked = zeroconf.Zeroconf.get_service_info, []

    def fail_first(self, *arguments, **options):
        asked.append(arguments)
        if len(asked) == 1:
            raise zeroconf.BadTypeInNameException("Ascii control character")
        return plain(self, *arguments, **options)

    monkeypatch.setattr(zeroconf.Zeroconf, "get_service_info", fail_first)
    found = browse(3.0, lambda offer: offer.fingerprint == fingerprint(public))
    assert len(asked) >= 2
    assert {one.run for one in found} & {run for run, _ in servers}


def test_a_whole_run_of_devices_that_were_told_no_address(site):
    with site.server(announce=True) as server:
        devices = [site.device(name, None, discover=True).start() for name in site.names]
        for device in devices:
            device.finish()
    run = server.finished().run
    for device in devices:
        assert any(f"-{run} at {server.address}" in line for line in device.lines)


def test_the_package_is_missing(site, monkeypatch):
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    from slfac.server import Server, server_settings
    from slfac.wire.errors import MissingExtraError

    settings = server_settings(
        bundle=site.bundle, out=site.root / "out", keys=site.keys("server"), announce=True
    )
    with pytest.raises(MissingExtraError, match="zeroconf"):
        Server(settings)
    assert not (site.root / "out").exists(), "so that the next start is not refused"


def test_the_command_says_what_to_check(tmp_path):
    server = new_keys(tmp_path / "server", "server")
    assert server_keys(server.parent)
    new_keys(tmp_path / "device", "device", server)
    process = start_cli(
        *("device", "--discover", "--data", str(tmp_path), "--keys", str(tmp_path / "device")),
        *("--connect-timeout-s", "0.5"),
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 30
    assert "within 0 s; check that the server runs with --announce" in err
