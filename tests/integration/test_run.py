"""Whole runs over real sockets: they learn, they count, they can be repeated."""

import json

import numpy as np
import pytest
import zmq

from harness.relay import Relay
from harness.site import Site, run_site
from slfac.codec import StreamKey
from slfac.device.front import Front
from slfac.wire.errors import AuthError, TrainingError
from slfac.wire.keys import new_keys
from slfac.wire.meter import CURVE_FRAME_BYTES, PING_BYTES, PONG_BYTES


def test_two_devices_learn_and_the_report_adds_up(site):
    server, devices = run_site(site, rounds=6, codec_up="slfac", codec_down="slfac")
    result = server.finished()
    assert result.accuracy > 0.9
    assert [d.name for d in result.devices] == site.names
    for told, device in zip(result.devices, devices, strict=True):
        # The server counts everything up to the device's goodbye, the device all but that.
        assert 0 <= told.bytes_up - device.sent_bytes < 300
        assert told.bytes_down == device.received_bytes
        assert told.totals.steps == device.steps == 6 * 8
        assert told.float32_bytes_up > 3 * told.bytes_up
        assert told.summary.samples == device.samples == 120
        assert told.summary.provider == "cpu"
    last = server.of_kind("round")[-1]
    assert sum(map(sum, last["confusion"])) == result.rounds[-1].score.samples
    assert sum(last["recall"]) / 10 == pytest.approx(last["balanced_accuracy"], abs=1e-5)


def test_a_device_says_what_it_computes_on(site):
    with site.server(rounds=1) as server:
        devices = [site.device(n, server.address, provider="auto").start() for n in site.names]
        for device in devices:
            device.finish()
    for told, device in zip(server.finished().devices, devices, strict=True):
        (line,) = [line for line in device.lines if line.startswith("training on ")]
        chosen = "cuda" if line.startswith("training on cuda") else "cpu"
        assert told.summary.provider == chosen


def test_metrics_hold_every_step_with_bytes_and_phases(site):
    server, _ = run_site(site, codec_up="none", codec_down="fp16")
    lines = (site.root / "out/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == server.seen
    steps = server.of_kind("step")
    assert len(steps) == 2 * 2 * 8
    for step in steps:
        assert step["float32_smashed_bytes"] == step["samples"] * 16 * 6 * 6 * 4
        overhead = step["bytes_up"] - step["smashed_bytes"]
        assert 0 < overhead < 600
        assert step["gradient_bytes"] < 0.51 * step["float32_gradient_bytes"]
        assert set(step["phase_ms"]) >= {"forward", "encode", "wait", "backward"}
        assert np.isfinite(step["loss"])


def test_same_seed_gives_the_same_weights_bit_for_bit(tmp_path, cnn_bundle, digits):
    fronts = []
    for name in ("a", "b"):
        site = Site.make(tmp_path / name, cnn_bundle, digits, devices=3)
        server, _ = run_site(site, partition="dirichlet:beta=0.5", seed=3)
        fronts.append(server.finished().front)
    for name, tensor in fronts[0].items():
        assert np.array_equal(tensor, fronts[1][name])


def test_links_cut_in_the_middle_leave_no_trace_in_the_weights(tmp_path, cnn_bundle, digits):
    calm = Site.make(tmp_path / "calm", cnn_bundle, digits, devices=2)
    expected = run_site(calm)[0].finished().front
    rough = Site.make(tmp_path / "rough", cnn_bundle, digits, devices=2)
    with rough.server() as server, Relay(server.address) as relay:
        relay.cut_after(40_000, 90_000, 91_000, 150_000)
        devices = [rough.device(name, relay.address).start() for name in rough.names]
        for device in devices:
            device.finish()
        assert relay.cuts_left == 0
    assert any("lost the server" in line for device in devices for line in device.lines)
    back = server.of_kind("reconnected")
    assert {event["device"] for event in back} <= set(rough.names)
    assert back
    assert all(event["silent_s"] >= 0 for event in back)
    for name, tensor in server.finished().front.items():
        assert np.array_equal(tensor, expected[name])


def test_a_link_that_breaks_while_the_device_computes_leaves_no_trace(
    tmp_path, cnn_bundle, digits, monkeypatch, caplog
):
    calm = Site.make(tmp_path / "calm", cnn_bundle, digits, devices=1)
    expected = run_site(calm)[0].finished().front
    rough = Site.make(tmp_path / "rough", cnn_bundle, digits, devices=1)
    backward, steps = Front.backward, []
    with rough.server() as server, Relay(server.address) as relay:

        def broken_into(front, gradients):
            steps.append(gradients)
            if len(steps) == 5:
                relay.cut()
                # libzmq connects again by itself: a whole handshake, then a heartbeat.
                relay.await_up(relay.up + 567 + 40)
            return backward(front, gradients)

        monkeypatch.setattr(Front, "backward", broken_into)
        device = rough.device("d0", relay.address).start()
        device.finish()
    assert sum("lost the server" in line for line in device.lines) == 1
    assert "connected again" in device.lines
    # Nothing was said on the connection that libzmq made: the server refuses what comes
    # there, and the device may see that before it sees the break.
    assert [record.message for record in caplog.records] == []
    for name, tensor in server.finished().front.items():
        assert np.array_equal(tensor, expected[name])


def test_no_draw_is_made_twice_though_a_device_joins_again(
    tmp_path, cnn_bundle, digits, monkeypatch
):
    site = Site.make(tmp_path, cnn_bundle, digits, devices=2)
    codecs = {"codec_up": "randtopk", "codec_down": "randtopk"}
    rng, backward, keys, steps = StreamKey.rng, Front.backward, [], []

    def drawn(key):
        keys.append(key)
        return rng(key)

    def fails_once(front, gradients):
        steps.append(gradients)
        if len(steps) == 5:
            raise TrainingError("it is the fifth step")
        return backward(front, gradients)

    monkeypatch.setattr(StreamKey, "rng", drawn)
    monkeypatch.setattr(Front, "backward", fails_once)
    with site.server(rounds=60, steps_per_round=4, **codecs) as server:
        devices = {name: site.device(name, server.address).start() for name in site.names}
        name = server.await_event("left", reason="left before the end")["device"]
        again = site.device(name, server.address).start()
        assert again.finish().rounds > 0
        for other in devices.keys() - {name}:
            devices[other].finish()
    server.finished()
    assert len(set(keys)) == len(keys) > 400
    index = site.names.index(name)
    starts = [key for key in keys if (key.device, key.step, key.direction) == (index, 0, "up")]
    assert len(starts) == 2


@pytest.mark.parametrize("codec", ["none", "slfac"])
def test_counted_bytes_are_what_a_relay_sees(site, codec):
    with site.server(codec_up=codec, codec_down=codec, rounds=3) as server:
        with Relay(server.address) as relay:
            devices = [site.device(name, relay.address).start() for name in site.names]
            for device in devices:
                device.finish()
        seen = relay.up, relay.down
    devices = server.finished().devices
    told = sum(d.wire_bytes_up for d in devices), sum(d.wire_bytes_down for d in devices)
    assert told[0] == pytest.approx(seen[0], rel=0.005)
    assert told[1] == pytest.approx(seen[1], rel=0.005)


def test_heartbeats_of_a_waiting_device_are_counted(site, monkeypatch):
    beat_ms, beats = 100, 40
    monkeypatch.setattr("slfac.wire.sockets.HEARTBEAT_MS", beat_ms)
    monkeypatch.setattr("slfac.server.run.HEARTBEAT_MS", beat_ms)
    with site.server(rounds=1, steps_per_round=1) as server:
        with Relay(server.address) as relay:
            first = site.device("d0", relay.address).start()
            server.await_event("joined", device="d0")
            before = relay.up
            relay.await_up(before + beats * (PING_BYTES + PONG_BYTES + 2 * CURVE_FRAME_BYTES))
            second = site.device("d1", relay.address).start()
            first.finish()
            second.finish()
        seen = relay.up, relay.down
    devices = server.finished().devices
    told = sum(d.wire_bytes_up for d in devices), sum(d.wire_bytes_down for d in devices)
    assert told[0] == pytest.approx(seen[0], rel=0.005)
    assert told[1] == pytest.approx(seen[1], rel=0.005)
    assert beats * 82 > 0.05 * seen[0], "beats must weigh in the sum, or this proves nothing"


def test_checkpoint_holds_the_front_that_devices_got(site):
    from safetensors.numpy import load_file

    server, _ = run_site(site)
    result = server.finished()
    front = load_file(result.checkpoint / "front.safetensors")
    assert {k: v.tobytes() for k, v in front.items()} == {
        k: np.asarray(v).tobytes() for k, v in result.front.items()
    }
    state = json.loads((result.checkpoint / "state.json").read_text())
    assert state["finished_rounds"] == 2
    assert state["rounds"][-1]["score"]["accuracy"] == pytest.approx(result.accuracy, abs=1e-6)
    best = result.checkpoint.parent / "best"
    assert best.readlink().name == f"round-{result.best.round + 1:06d}"
    assert sorted(p.name for p in result.checkpoint.parent.iterdir()) == [
        "best",
        "round-000001",
        "round-000002",
    ]


def test_strangers_are_counted_at_the_end(site):
    new_keys(site.keys("odd"), "device", site.keys("server") / "server.key")
    with site.server() as server:
        with pytest.raises(AuthError):
            site.device("odd", server.address).start().finish()
        devices = [site.device(name, server.address).start() for name in site.names]
        for device in devices:
            device.finish()
    server.finished()
    (end,) = server.of_kind("end")
    assert end["refused_keys"] >= 1
    assert end["refused"] == {}


def test_malformed_messages_are_counted_at_the_end(site):
    with site.server(insecure=True, keys=None, devices=("d0",)) as server:
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.connect(server.address)
            dealer.send(b"one frame")
            dealer.send_multipart([b"three", b"frames", b"here"])
        site.device("d0", server.address, keys=None, insecure=True, name="d0").start().finish()
    server.finished()
    (end,) = server.of_kind("end")
    assert (end["refused_keys"], end["refused"]) == (0, {"frames": 2})
