"""``slfac doctor`` as a user runs it, against a real server, in and out of training."""

import json
import socket

import numpy as np
import pytest

from harness.network import LOOPBACK
from harness.relay import Relay
from harness.site import Site, run_site, start_cli
from slfac import __version__
from slfac.device import probing
from slfac.device.doctor import discover
from slfac.device.doctor import server as doctor_server
from slfac.device.doctor.discover import check_discovery
from slfac.device.doctor.server import check_server
from slfac.server import probes, protocol, service
from slfac.server.announce import announced
from slfac.testbed.link import parse_link
from slfac.testbed.paced import PacedRelay
from slfac.wire import frame
from slfac.wire.discovery import Offer, fingerprint
from slfac.wire.errors import MissingExtraError, ProtocolError
from slfac.wire.keys import AllowList, new_keys, server_keys
from slfac.wire.messages import Echo, Ping

LINK = [
    "name",
    "port",
    "handshake",
    "release",
    "round trip",
    "clock offset",
    "link up",
    "link down",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory, cnn_bundle, digits):
    """A site with a server that waits for d0; d1 is enrolled but not of its run, d2 revoked."""
    site = Site.make(tmp_path_factory.mktemp("place"), cnn_bundle, digits, devices=3)
    AllowList(site.keys("server")).revoke("d2")
    new_keys(site.keys("stranger"), "device", site.keys("server") / "server.key")
    new_keys(site.keys("mistaken"), "device", site.keys("d0") / "device.key")
    with site.server(devices=["d0"], rounds=1, join_timeout_s=600) as server:
        yield site, server.address
        site.device("d0", server.address).start().finish()
    server.finished()


def doctor(*arguments):
    """Run the command; its exit code, its findings by name, what it wrote to stderr."""
    process = start_cli("doctor", *arguments, "--json")
    out, err = process.communicate(timeout=60)
    report = json.loads(out)
    assert report["slfac"] == __version__
    assert len(report["findings"]) == sum(report["counts"].values())
    assert (process.returncode == 1) == (report["counts"]["failed"] > 0)
    assert all(f["remedy"] for f in report["findings"] if f["level"] in ("failed", "warning"))
    return process.returncode, {f["name"]: f for f in report["findings"]}, err


def of_link(findings):
    """The findings about the server: those after the last of the keys."""
    names = list(findings)
    return {name: findings[name] for name in names[names.index("name") :]}


def test_a_device_in_order(place):
    site, address = place
    code, findings, err = doctor("--keys", str(site.keys("d0")), "--server", address)
    assert (code, err) == (0, "")
    link = of_link(findings)
    assert list(link) == LINK
    assert {finding["level"] for finding in link.values()} == {"ok"}, link
    assert f"slfac {__version__} there, {__version__} here" in link["release"]["found"]
    least_ms = float(link["round trip"]["found"].split(" ms")[0])
    assert 0 < least_ms < 100
    assert "agrees with this one's within" in link["clock offset"]["found"], "it is one clock"
    assert float(link["link up"]["found"].split()[0]) > 10
    assert float(link["link down"]["found"].split()[0]) > 10


@pytest.mark.parametrize(
    ("owner", "step", "said", "remedy"),
    [
        ("stranger", "handshake", "refused this device's key", "slfac keys enroll"),
        ("d2", "handshake", "refused this device's key", "slfac keys enroll"),
        ("mistaken", "handshake", "its key is not the one in server.key", "copy server.key"),
        ("d1", "run", "'d1' is not part of this run", "restart the server"),
    ],
)
def test_a_key_that_is_wrong(place, owner, step, said, remedy):
    site, address = place
    code, findings, err = doctor("--keys", str(site.keys(owner)), "--server", address)
    assert (code, err) == (1, "")
    name, finding = list(findings.items())[-1]
    assert (name, finding["level"]) == (step, "failed")
    assert said in finding["found"]
    assert remedy in finding["remedy"]


def test_a_server_of_another_release_protocol_or_time(place, monkeypatch):
    site, address = place
    monkeypatch.setattr(probes, "__version__", "9.9")
    now_ns = probes.time.time_ns

    class Later:
        @staticmethod
        def time_ns():
            return now_ns() + 3600 * 10**9

    monkeypatch.setattr(probes, "time", Later)
    found = {finding.name: finding for finding in check_server(address, site.keys("d0"))}
    assert (found["release"].level, "9.9 there" in found["release"].found) == ("warning", True)
    assert found["clock offset"].level == "warning"
    ahead_ms = float(found["clock offset"].found.split("is ")[1].split(" ms ahead of")[0])
    assert abs(ahead_ms - 3600e3) < 1000
    monkeypatch.setattr(frame, "_PREFIX", b"SF\x02")
    code, findings, _ = doctor("--keys", str(site.keys("d0")), "--server", address)
    assert code == 1
    assert "speaks protocol version 2, this release speaks 1" in findings["release"]["found"]


def test_a_server_that_knows_no_probes(place, monkeypatch):
    def older(_):
        raise ProtocolError("malformed message: Invalid value 10 - at `$[0]`")

    monkeypatch.setattr(service, "decode_header", older)
    *_, finding = check_server(place[1], place[0].keys("d0"))
    assert (finding.level, finding.name) == ("failed", "release")
    assert "knows no probes" in finding.found
    assert "same release" in finding.remedy


def test_a_server_that_says_something_else_or_nothing(place, monkeypatch):
    site, address = place
    monkeypatch.setattr(
        protocol, "answer_probe", lambda connection, _: connection.outbox.put(Ping(1))
    )
    monkeypatch.setattr(probing, "_ANSWER_S", 1.0)
    *_, finding = check_server(address, site.keys("d0"))
    assert (finding.level, finding.name) == ("failed", "release")
    assert "did not answer a probe within 1 s" in finding.found
    echo = Echo(1, 1, "x", 1)
    monkeypatch.setattr(protocol, "answer_probe", lambda connection, _: connection.outbox.put(echo))
    *_, finding = check_server(address, site.keys("d0"))
    assert "answered a probe with a Echo" in finding.found


def test_a_connection_that_breaks(place):
    site, address = place
    with Relay(address) as relay:
        relay.cut_after(1500)
        *_, finding = check_server(relay.address, site.keys("d0"))
    assert (finding.level, finding.name) == ("failed", "round trip")
    assert finding.found == "the connection broke"


@pytest.mark.parametrize(("link", "up", "down"), [("8Mbit/30Mbit", 8, 30), ("0.5Mbit", 0.5, 0.5)])
def test_a_links_rate_is_measured_each_way(place, link, up, down):
    site, address = place
    with PacedRelay(address, [parse_link(link)]) as relay:
        found = {one.name: one for one in check_server(relay.addresses[0], site.keys("d0"))}
    for name, expected in (("link up", up), ("link down", down)):
        assert float(found[name].found.split()[0]) == pytest.approx(expected, rel=0.3)
        assert found[name].level == ("ok" if expected >= 1 else "warning")


def test_without_keys_it_goes_as_far_as_it_can(place):
    code, findings, _ = doctor("--server", place[1])
    assert code == 0
    link = of_link(findings)
    assert {name: finding["level"] for name, finding in link.items()} == {
        "name": "ok",
        "port": "ok",
        "handshake": "unknown",
    }


def test_keys_of_the_other_end_are_not_tried(place):
    site, address = place
    code, findings, _ = doctor("--keys", str(site.keys("server")), "--server", address)
    assert code == 0
    assert findings["server key"]["level"] == findings["torch"]["level"] == "ok"
    assert findings["allow-list"]["found"] == "enrolled: d0, d1; revoked: d2"
    assert findings["handshake"]["level"] == "unknown"


def test_a_closed_port(site):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    code, findings, _ = doctor("--keys", str(site.keys("d0")), "--server", address)
    assert code == 1
    assert "nobody listens there" in findings["port"]["found"]
    assert "handshake" not in findings


@pytest.mark.parametrize(
    ("address", "step", "said"),
    [
        ("tcp://no-such-host.invalid:5555", "name", "no-such-host.invalid cannot be resolved"),
        (f"tcp://{'a' * 70}.b:5555", "name", "cannot be resolved"),
        ("10.0.0.5:5555", "address", "is malformed"),
        ("tcp://*:5555", "address", "is no server's"),
        ("tcp://10.0.0.5:*", "address", "is no server's"),
        ("tcp://10.0.0.5:0", "address", "is no server's"),
    ],
)
def test_an_address_that_leads_nowhere(address, step, said):
    finding = list(check_server(address, None))[-1]
    assert (finding.level, finding.name) == ("failed", step)
    assert said in finding.found
    assert finding.remedy


def test_a_name_of_which_one_address_listens(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        places = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in ("127.0.0.1", "127.0.0.2")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
        name, port_, handshake = check_server(f"tcp://somewhere:{port}", None)
    assert name.found == "127.0.0.1 (IPv4), 127.0.0.2 (IPv4)"
    assert port_.level == "warning"
    assert "not of 127.0.0.2: nobody listens there" in port_.found
    assert port_.remedy.endswith("give the address as a number, 127.0.0.1")
    assert handshake.level == "unknown"


@pytest.mark.parametrize("host", LOOPBACK)
def test_addresses_of_both_kinds(host):
    family, kind, place = (
        (socket.AF_INET6, "IPv6", "[::1]") if ":" in host else (socket.AF_INET, "IPv4", host)
    )
    with socket.create_server((host, 0), family=family) as listening:
        port = listening.getsockname()[1]
        name, port_, _ = check_server(f"tcp://{place}:{port}", None)
    assert (name.found, port_.found) == (f"{host} ({kind})", f"port {port} of {host} is open")


def test_something_that_is_no_server(site, monkeypatch):
    monkeypatch.setattr(doctor_server, "HANDSHAKE_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        *_, finding = check_server(address, site.keys("d0"))
    assert (finding.level, finding.name) == ("failed", "handshake")
    assert "is no slfac server" in finding.found


def test_a_training_with_the_same_key_goes_on_as_if_nobody_had_looked(tmp_path, cnn_bundle, digits):
    calm = Site.make(tmp_path / "calm", cnn_bundle, digits, devices=2)
    settings = {"rounds": 25, "steps_per_round": 4}
    expected = run_site(calm, **settings)[0].finished().front
    watched = Site.make(tmp_path / "watched", cnn_bundle, digits, devices=2)
    with watched.server(**settings) as server:
        devices = [watched.device(name, server.address).start() for name in watched.names]
        server.await_event("step")
        findings = list(check_server(server.address, watched.keys("d0")))
        assert not server.of_kind("end"), "it was over before the doctor was done"
        results = [device.finish() for device in devices]
    assert [finding.name for finding in findings] == LINK
    assert {finding.level for finding in findings} == {"ok"}, findings
    assert [event["reason"] for event in server.of_kind("left")] == ["finished"] * 2
    assert len(server.of_kind("joined")) == 2
    for told, device in zip(server.finished().devices, results, strict=True):
        assert 0 <= told.bytes_up - device.sent_bytes < 300
        assert told.bytes_down == device.received_bytes
    for name, tensor in server.finished().front.items():
        assert np.array_equal(tensor, expected[name])


@pytest.fixture
def offers(monkeypatch):
    """Puts servers on the network as the doctor sees it."""

    def put(*found):
        monkeypatch.setattr(discover, "browse", lambda *_: [*found])

    return put


def offer(run, address, key=""):
    return Offer(f"lab-{run}", run, key, __version__, (address,))


def test_a_server_is_found_and_tried(place):
    site, address = place
    with announced(address, run="77aa", key=server_keys(site.keys("server")).public):
        code, findings, _ = doctor("--keys", str(site.keys("d0")), "--discover")
    assert code == 0
    assert findings["discovery"]["level"] == "ok"
    assert findings["discovery"]["found"].endswith(f"-77aa at {address}")
    assert list(of_link(findings)) == LINK


def test_servers_that_are_not_this_devices_or_too_many_that_are(place, offers):
    site, address = place
    ours = fingerprint(server_keys(site.keys("server")).public)
    cases = [
        ((), "failed", "no server in 4 s", "--announce"),
        (
            (offer("1", address, "ab" * 32),),
            "failed",
            "none has the key in server.key: lab-1",
            "copy",
        ),
        (
            (offer("1", address, ours), offer("2", address, ours)),
            "failed",
            f"2 have the key in server.key: lab-1 at {address}, lab-2 at {address}",
            "--server ADDRESS",
        ),
    ]
    for found, level, said, remedy in cases:
        offers(*found)
        (finding,) = check_discovery(site.keys("d0"))
        assert (finding.level, finding.name) == (level, "discovery")
        assert said in finding.found
        assert remedy in finding.remedy


def test_discovery_without_a_devices_keys(place, offers, monkeypatch):
    site, address = place
    offers(offer("1", address))
    (finding,) = check_discovery(None)
    assert (finding.level, finding.found.split(";")[0]) == ("ok", f"lab-1 at {address}")
    (finding,) = check_discovery(site.keys("server"))
    assert (finding.level, finding.remedy != "") == ("unknown", True)

    def missing(*_):
        raise MissingExtraError("a package is missing: zeroconf", "install it")

    monkeypatch.setattr(discover, "browse", missing)
    (finding,) = check_discovery(None)
    assert (finding.level, finding.remedy) == ("failed", "install it")
