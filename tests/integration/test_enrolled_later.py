"""A key that the server does not know yet, or no more, gets in once it is enrolled."""

import threading

import numpy as np
import pytest

from harness.relay import Relay
from harness.site import WAIT_S, Site, run_site
from slfac import __version__
from slfac.device import caller
from slfac.device.front import Front
from slfac.server import probes, protocol
from slfac.wire.keys import AllowList, device_keys


class Lines(list):
    """Lines of a device, of which one can be waited for."""

    def __init__(self):
        super().__init__()
        self._more = threading.Condition()

    def append(self, line):
        with self._more:
            super().append(line)
            self._more.notify_all()

    def wait_for(self, part):
        with self._more:
            assert self._more.wait_for(lambda: any(part in line for line in self), WAIT_S), self


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(caller, "_REFUSED_BACKOFF_S", (0.1,))


def started(site, owner, address, **settings):
    device = site.device(owner, address, **settings)
    device.lines = Lines()
    return device.start()


def test_a_device_that_is_told_to_wait_gets_in_without_a_restart(site):
    certificate = site.keys("d1") / "device.key"
    with site.server() as server:
        allowed = AllowList(site.keys("server"))
        allowed.revoke("d1")
        first = started(site, "d0", server.address)
        second = started(site, "d1", server.address, wait_enrolled_s=WAIT_S, connect_timeout_s=1)
        second.lines.wait_for("slfac keys enroll NAME device.key")
        allowed.enroll("d1", certificate)
        assert first.finish().rounds == second.finish().rounds == 2
    server.finished()
    (line,) = [line for line in second.lines if "refused this device's key" in line]
    assert device_keys(site.keys("d1")).own.public.decode() in line
    assert "trying again for" in line


def test_a_device_whose_key_is_missing_after_a_break_comes_back(
    tmp_path, cnn_bundle, digits, monkeypatch
):
    calm = Site.make(tmp_path / "calm", cnn_bundle, digits, devices=1)
    expected = run_site(calm)[0].finished().front
    rough = Site.make(tmp_path / "rough", cnn_bundle, digits, devices=1)
    allowed = AllowList(rough.keys("server"))
    backward, steps = Front.backward, []
    with rough.server() as server, Relay(server.address) as relay:

        def broken_into(front, gradients):
            steps.append(gradients)
            if len(steps) == 5:
                allowed.revoke("d0")
                relay.cut()
            return backward(front, gradients)

        monkeypatch.setattr(Front, "backward", broken_into)
        device = started(rough, "d0", relay.address)
        device.lines.wait_for("refused this device's key")
        allowed.enroll("d0", rough.keys("d0") / "device.key")
        device.finish()
    for name, tensor in server.finished().front.items():
        assert np.array_equal(tensor, expected[name])


@pytest.mark.parametrize("keyless", [False, True])
def test_clocks_and_releases_of_both_ends_are_in_the_metrics(site, monkeypatch, keyless, caplog):
    now_ns = probes.time.time_ns

    class Later:
        @staticmethod
        def time_ns():
            return now_ns() + 3600 * 10**9

    monkeypatch.setattr(probes, "time", Later)
    monkeypatch.setattr(protocol, "__version__", "9.9")
    ends = {"keys": None, "insecure": True}
    with site.server(rounds=3, devices=site.names, **(ends if keyless else {})) as server:
        devices = [
            started(site, name, server.address, **({**ends, "name": name} if keyless else {}))
            for name in site.names
        ]
        results = [device.finish() for device in devices]
    joined = {event["device"]: event for event in server.of_kind("joined")}
    rounds = server.of_kind("round")
    told = [joined[name]["clock"] for name in site.names]
    told += [event["clocks"][name] for event in rounds for name in site.names]
    for clock in told:
        assert abs(clock["offset_ms"] - 3600e3) <= clock["round_trip_ms"] / 2 + 1
        assert 0 < clock["round_trip_ms"] < 1000
    assert rounds[0]["clocks"] != rounds[2]["clocks"], "it is measured again"
    assert {event["slfac"] for event in joined.values()} == {__version__}
    assert f"device d0 runs slfac '{__version__}', this server '9.9'" in caplog.text
    for device, name, result in zip(devices, site.names, results, strict=True):
        assert sum("the server runs slfac '9.9'" in line for line in device.lines) == 1
        traffic = next(one for one in server.finished().devices if one.name == name)
        # Probes of the run's devices are in the counts of both ends.
        assert 0 <= traffic.bytes_up - result.sent_bytes < 300
        assert traffic.bytes_down == result.received_bytes
