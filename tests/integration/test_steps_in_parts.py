"""Whole runs whose steps come in parts: the weights are those of steps in one."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.relay import Relay
from harness.site import Site, run_site
from slfac.export import export_bundle
from slfac.server import Server, server_settings
from slfac.wire.errors import SettingsError

# Two devices of 60 samples: the last batch of a pass has 12.
SETTINGS = {"rounds": 2, "batch_size": 24, "codec_up": "none", "codec_down": "none", "seed": 4}


def train(root, bundle, data, **settings):
    site = Site.make(root, bundle, data, devices=2)
    server, devices = run_site(site, **{**SETTINGS, **settings})
    checkpoint = server.finished().checkpoint
    halves = [load_file(checkpoint / f"{name}.safetensors") for name in ("front", "back")]
    return {**halves[0], **halves[1]}, server, devices


def furthest(a, b):
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


@pytest.fixture(scope="module", params=["parallel", "sfl-v1", "relay"])
def whole(request, tmp_path_factory, cnn_bundle, digits):
    root = tmp_path_factory.mktemp("whole")
    return request.param, train(root, cnn_bundle, digits, mode=request.param)


def test_four_micro_batches_end_with_the_weights_of_one(tmp_path, whole, cnn_bundle, digits):
    mode, (weights, server, devices) = whole
    told, parted, in_parts = train(tmp_path, cnn_bundle, digits, mode=mode, micro_batches=4)
    assert 0 < furthest(told, weights) < 2e-5
    for one, other in zip(devices, in_parts, strict=True):
        assert one.losses == pytest.approx(other.losses, abs=1e-4)
    lines = [{(s["device"], s["step"]): s for s in run.of_kind("step")} for run in (server, parted)]
    assert lines[0].keys() == lines[1].keys()
    for at, line in lines[0].items():
        other = lines[1][at]
        assert (line["parts"], other["parts"]) == (1, 4)
        assert line["samples"] == other["samples"]
        assert line["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert 0 <= other["smashed_bytes"] - line["smashed_bytes"] < 4 * 64
        assert other["step_ms"] >= 0.99 * sum(other["phase_ms"].values())
    for result in (server.finished(), parted.finished()):
        assert [d.totals.steps for d in result.devices] == [d.steps for d in devices]
        assert [d.totals.samples for d in result.devices] == [2 * 120, 2 * 120]


def test_runs_in_parts_repeat_bit_for_bit_over_links_that_are_cut(tmp_path, cnn_bundle, digits):
    codecs = {"codec_up": "slfac-rd:budget=1kB", "codec_down": "randtopk:ratio=0.2"}
    runs = [
        train(tmp_path / name, cnn_bundle, digits, micro_batches=4, **codecs)[0]
        for name in ("a", "b")
    ]
    assert furthest(*runs) == 0.0
    site = Site.make(tmp_path / "cut", cnn_bundle, digits, devices=2)
    settings = {**SETTINGS, **codecs, "micro_batches": 4}
    with site.server(**settings) as server, Relay(server.address) as relay:
        relay.cut_after(60_000, 120_000)
        devices = [site.device(name, relay.address).start() for name in site.names]
        for device in devices:
            device.finish()
    assert any("connected again" in line for device in devices for line in device.lines)
    checkpoint = server.finished().checkpoint
    for half in ("front", "back"):
        state = load_file(checkpoint / f"{half}.safetensors")
        assert furthest(state, {name: runs[0][name] for name in state}) == 0.0


@pytest.mark.parametrize("mode", ["parallel", "sfl-v2"])
def test_blocks_change_nothing_but_when_bytes_travel(tmp_path, cnn_bundle, digits, mode):
    # These codecs have nothing that samples share, so that a block holds what the whole would.
    codec = {"codec_up": "fp16", "codec_down": "topk:ratio=0.2", "mode": mode}
    weights, _, devices = train(tmp_path / "a", cnn_bundle, digits, **codec)
    told, server, in_blocks = train(tmp_path / "b", cnn_bundle, digits, **codec, stream_blocks=4)
    assert furthest(told, weights) == 0.0
    for one, other in zip(devices, in_blocks, strict=True):
        assert one.losses == pytest.approx(other.losses, rel=1e-12)
    assert {line["parts"] for line in server.of_kind("step")} == {4}


@pytest.fixture(scope="module")
def normed(tmp_path_factory):
    """A CNN with BatchNorm on both sides of the cut."""
    folder = tmp_path_factory.mktemp("normed") / "bundle"
    export_bundle(
        model="cnn",
        kwargs={"batch_norm": True},
        cut="pool1",
        input_shape=(1, 12, 12),
        out=folder,
        num_classes=10,
        seed=0,
    )
    return folder


def test_a_front_with_batch_norm_is_refused_and_streams_in_blocks(tmp_path, normed, digits):
    site = Site.make(tmp_path / "a", normed, digits, devices=1)
    settings = {"bundle": normed, "out": tmp_path / "out", "keys": site.keys("server")}
    with pytest.raises(SettingsError, match="the front half holds BatchNorm") as caught:
        Server(server_settings(**settings, micro_batches=4))
    assert "stream_blocks = 4" in caught.value.remedy
    assert not (tmp_path / "out").exists()
    weights, _, _ = train(tmp_path / "b", normed, digits, micro_batches=0)
    told, server, _ = train(tmp_path / "c", normed, digits, stream_blocks=3)
    assert furthest(told, weights) == 0.0
    assert {line["parts"] for line in server.of_kind("step")} == {3}


def test_left_to_the_server_a_model_without_batch_norm_takes_four(tmp_path, cnn_bundle, digits):
    _, server, _ = train(tmp_path, cnn_bundle, digits, micro_batches=0, rounds=1)
    assert {line["parts"] for line in server.of_kind("step")} == {4}
    (run,) = server.of_kind("run")
    assert (run["micro_batches"], run["settings"]["micro_batches"]) == (4, 0)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"micro_batches": 2, "mode": "sfl-v2"}, "mode sfl-v2 trains on whole batches"),
        ({"micro_batches": 2, "mode": "async"}, "mode async trains on whole batches"),
        ({"micro_batches": 2, "step_deadline_s": 1.0}, "waits for every part"),
        ({"micro_batches": 2, "stream_blocks": 2}, "parts of one kind"),
        ({"micro_batches": 17}, "less than or equal to 16"),
        ({"stream_blocks": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_come_in_parts_is_refused(tmp_path, changes, what):
    with pytest.raises(SettingsError, match=what) as caught:
        server_settings(bundle=tmp_path, out=tmp_path, keys=tmp_path, **changes)
    assert caught.value.remedy
