"""Simulated runs are real ones: the same losses, the same bytes, the same scores."""

import json
import os
import signal
import threading

import numpy as np
import pytest

from harness.experiments import assert_told_as_asked
from harness.site import Site, run_site, start_cli, write_digits
from slfac.cli import main
from slfac.export import export_bundle
from slfac.testbed.simulate import simulate, simulation
from slfac.wire.errors import RunError, TrainingError
from slfac.wire.manifest import Preprocessing

DEVICES, ROUNDS, STEPS, SEED = 3, 2, 10, 3
SCALED = Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,))
ALLOW = ("harness.own_models",)
SETTINGS = {
    "rounds": ROUNDS,
    "steps_per_round": STEPS,
    "batch_size": 16,
    "partition": "iid",
    # Coarse codecs and high rates make differences in the last bits grow.
    "optimizer": "sgd:lr=0.01",
    "seed": SEED,
    "threads": 1,
    "torch_device": "cpu",
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("images") / "d", train=600, test=60, size=12)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """By name: of a plain CNN, of one with BatchNorm and dropout at the cut, of one with a head."""
    folder = tmp_path_factory.mktemp("bundles")
    small = {"channels": [4, 8], "hidden": 16}
    cnn = {"model": "cnn", "cut": "pool1", "input_shape": (1, 12, 12), "num_classes": 10}
    own = {"model": "harness.own_models:residual", "cut": "branch", "input_shape": (1, 8, 8)}
    options = {
        "cnn": {**cnn, "kwargs": small},
        "own": {**own, "kwargs": {"norm": True}},
        "head": {**cnn, "kwargs": small, "head_cut": "flatten"},
    }
    return {
        name: export_bundle(**more, out=folder / name, seed=SEED, preprocessing=SCALED).bundle.path
        for name, more in options.items()
    }


@pytest.fixture
def plain(bundles, images):
    return bundles["cnn"], images


def losses(events, names):
    steps = [event for event in events if event["event"] == "step"]
    return [[s["loss"] for s in steps if s["device"] == name] for name in names]


def step_bytes(events):
    keys = ("bytes_up", "bytes_down", "smashed_bytes", "gradient_bytes")
    steps = [event for event in events if event["event"] == "step"]
    return np.array([[step[key] for key in keys] for step in steps]).sum(0)


def assert_simulates(tmp_path, bundle, data, **settings):
    """The same run over sockets, with boards' own code and ONNX, and simulated."""
    given = {**SETTINGS, **settings}
    head = "head" in bundle.name
    site = Site.make(tmp_path / "real", bundle, data, devices=DEVICES)
    server, _ = run_site(site, **given, **({"data": None} if head else {}))
    real, events = server.finished(), []
    run = simulation(bundle=bundle, data=data, devices=DEVICES, out=tmp_path / "sim", **given)
    simulated = simulate(run, events.append)
    ours = np.array(losses(server.seen, site.names))
    theirs = np.array(losses(events, run.settings.devices))
    assert ours.shape == theirs.shape == (DEVICES, ROUNDS * STEPS)
    assert np.abs(ours - theirs).max() < 1e-3
    assert step_bytes(events) == pytest.approx(step_bytes(server.seen), rel=1e-3)
    for one, other in zip(real.devices, simulated.devices, strict=True):
        assert other.bytes_up == pytest.approx(one.bytes_up, rel=1e-3)
        assert other.bytes_down == pytest.approx(one.bytes_down, rel=1e-3)
        assert other.totals.front_bytes_up == one.totals.front_bytes_up
        assert other.wire_bytes_up == pytest.approx(one.wire_bytes_up, rel=1e-3)
        assert other.wire_bytes_down == pytest.approx(one.wire_bytes_down, rel=1e-3)
        assert other.summary.sent_bytes == pytest.approx(one.summary.sent_bytes, rel=1e-3)
        assert other.summary.received_bytes == pytest.approx(one.summary.received_bytes, rel=1e-3)
    for one, other in zip(real.rounds, simulated.rounds, strict=True):
        assert other.score.loss == pytest.approx(one.score.loss, abs=1e-3)
        assert other.score.accuracy == pytest.approx(one.score.accuracy, abs=0.02)
    for name, tensor in real.front.items():
        assert np.abs(simulated.front[name] - tensor).max() < 1e-3, name
    (facts,) = [event for event in events if event["event"] == "run"]
    assert facts["simulated"]
    assert not server.of_kind("run")[0]["simulated"]
    return simulated


@pytest.mark.parametrize(
    ("mode", "codecs", "more"),
    [
        ("parallel", "none none", {"optimizer": "adam:lr=0.01,clip_norm=1"}),
        ("parallel", "slfac-rd slfac-rd", {"partition": "dirichlet:beta=0.5"}),
        # What it draws is named by seed, device, step and part.
        ("parallel", "randtopk:ratio=0.3 fp16", {"micro_batches": 3}),
        ("parallel", "slfac slfac", {"stream_blocks": 2}),
        ("sfl-v1", "slfac slfac", {"schedule": "cosine:final=0.01"}),
        ("sfl-v2", "slfac slfac", {}),
        ("relay", "slfac slfac-rd", {"device_optimizer": "sgd:lr=0.02"}),
    ],
)
def test_a_plain_model_trains_as_for_real(tmp_path, plain, mode, codecs, more):
    up, down = codecs.split()
    settings = {"mode": mode, "codec_up": up, "codec_down": down, **more}
    assert_simulates(tmp_path, *plain, **settings)


def test_batchnorm_dropout_and_two_tensors_train_as_for_real(tmp_path, bundles):
    small = write_digits(tmp_path / "small", train=300, test=60, size=8)
    # With BatchNorm on so few values, a coarse codec makes them grow within 20 steps.
    codecs = {"codec_up": "fp16", "codec_down": "none"}
    assert_simulates(tmp_path, bundles["own"], small, allow_factories=ALLOW, **codecs)


def test_heads_on_devices_train_and_score_as_for_real(tmp_path, bundles, images):
    codecs = {"codec_up": "slfac", "codec_down": "fp16"}
    assert_simulates(tmp_path, bundles["head"], images, **codecs)


def bits(result):
    back = (result.checkpoint / "back.safetensors").read_bytes()
    return {name: tensor.tobytes() for name, tensor in result.front.items()}, back


@pytest.fixture(scope="module")
def whole(tmp_path_factory, bundles, images):
    """A run that nothing disturbs, and what it was made of."""
    given = {"bundle": bundles["cnn"], "data": images, "devices": 4, "mode": "sfl-v1", **SETTINGS}
    # A codec that remembers: each device's stream goes on as it was.
    given |= {"optimizer": "adam:lr=0.01", "codec_up": "slacc", "codec_down": "slfac-rd"}
    return given, simulate(simulation(out=tmp_path_factory.mktemp("whole") / "run", **given))


def test_two_simulations_give_the_same_bits(tmp_path, whole):
    given, result = whole
    again = simulate(simulation(out=tmp_path / "run", **given))
    assert bits(again) == bits(result)
    assert [d.bytes_up for d in again.devices] == [d.bytes_up for d in result.devices]


@pytest.mark.parametrize("at", [6, 40, 65])
def test_a_simulation_that_was_stopped_goes_on_bit_for_bit(tmp_path, whole, at):
    given, result = whole
    seen = []

    def stop(event):
        seen.append(event)
        if len(seen) == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(simulation(out=tmp_path / "run", **given), stop)
    assert not [one for one in threading.enumerate() if one.name.startswith("slfac-device")]
    again = simulate(simulation(resume=True, out=tmp_path / "run"))
    assert bits(again) == bits(result)


def test_a_simulation_goes_on_from_a_moment_that_all_its_devices_took_down(
    tmp_path, bundles, images
):
    given = {**SETTINGS, "bundle": bundles["cnn"], "data": images, "devices": 2, "rounds": 3}
    given |= {"steps_per_round": 3, "optimizer": "adam:lr=0.01"}
    result = simulate(simulation(out=tmp_path / "whole", **given))

    def stop(event):
        if event["event"] == "step" and event["round"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(simulation(out=tmp_path / "run", **given), stop)
    # As if it had been stopped before the second one had written it.
    (newest,) = (tmp_path / "run" / "journal" / "device-2").glob("*/round-000002.*")
    newest.unlink()
    again = simulate(simulation(resume=True, out=tmp_path / "run"))
    assert bits(again) == bits(result)


def test_a_real_run_is_not_gone_on_with(tmp_path, bundles, images, capsys):
    site = Site.make(tmp_path, bundles["cnn"], images, devices=1)
    run_site(site, **{**SETTINGS, "rounds": 1, "steps_per_round": 1})
    assert main(["simulate", "--resume", str(tmp_path / "out")]) == 2
    assert "is one with real devices" in capsys.readouterr().err


def test_a_device_that_fails_is_named(tmp_path, bundles, images):
    run = simulation(
        bundle=bundles["cnn"],
        data=images,
        devices=2,
        device_data=(images, tmp_path / "none"),
        out=tmp_path / "run",
        **SETTINGS,
    )
    with pytest.raises(RunError, match=r"device-2 failed: .*none"):
        simulate(run)


def test_a_run_that_diverges_says_so(tmp_path, plain):
    bundle, data = plain
    wild = {**SETTINGS, "optimizer": "sgd:lr=1e6", "codec_up": "none"}
    run = simulation(bundle=bundle, data=data, devices=2, out=tmp_path / "run", **wild)
    with pytest.raises((RunError, TrainingError), match="lower the learning rate"):
        simulate(run)


def test_the_command_trains_and_leaves_a_run(tmp_path, bundles, images, capsys):
    out = tmp_path / "run"
    options = ("--rounds", "1", "--steps-per-round", "2", "--threads", "1", "--tensorboard")
    made = ("--bundle", str(bundles["head"]), "--data", str(images), "--out", str(out))
    assert main(["simulate", *made, "--devices", "2", *options]) == 0
    said = capsys.readouterr().out
    assert "device-2: 2 steps" in said
    assert (out / "metrics.jsonl").exists()
    assert (out / "checkpoint" / "round-000001" / "front.safetensors").exists()
    assert list((out / "tensorboard").iterdir())


def test_ctrl_c_ends_it_at_once_and_cleanly(tmp_path, bundles, images):
    out = tmp_path / "run"
    made = ("--bundle", str(bundles["cnn"]), "--data", str(images), "--out", str(out))
    process = start_cli("simulate", *made, "--rounds", "10000", "--threads", "1")
    lines = iter(process.stdout.readline, "")
    next(line for line in lines if "round" in line)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_real_run_of_processes_has_the_same_losses_and_bytes(tmp_path, capsys):
    path = tmp_path / "simulate.json"
    few = ("--codec", "slfac", "--devices", "2", "--batch-size", "8", "--steps-per-round", "7")
    assert main(["bench", "simulate", *few, "--torch-device", "cpu", "--json", str(path)]) == 0
    assert "differences of losses and bytes" in capsys.readouterr().out
    (measured,) = json.loads(path.read_text())["measurements"]
    assert measured["loss"] < 1e-3
    assert abs(measured["bytes_up"]) < 1e-3
    assert abs(measured["bytes_down"]) < 1e-3
    assert measured["gain"] == pytest.approx(
        measured["real_round_s"] / measured["simulated_round_s"], rel=0.01
    )


def test_an_experiment_is_simulated_and_not_run_again(tmp_path, digits, capsys):
    file = tmp_path / "tiny.toml"
    base = {"model": "cnn", "cut": "pool1", "data": str(digits), "devices": 2, "rounds": 1}
    base |= {"batch_size": 40, "train_samples": 160, "torch_device": "cpu", "steps_per_round": 2}
    # Nothing that is the default.
    base |= {"micro_batches": 2, "schedule": "cosine:final=0.1", "optimizer": "adam:lr=0.01"}
    base |= {"device_optimizer": "sgd:lr=0.02", "partition": "dirichlet:beta=0.5,min_samples=20"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in base.items()]
    matrix = ["[[matrix]]", 'codec = ["slfac@fp16"]', 'mode = ["sfl-v1"]', "seed = [3]"]
    file.write_text("\n".join(['title = "tiny"', "[base]", *lines, *matrix]))
    command = ("experiment", "run", str(file), "--simulate", "--out", str(tmp_path / "out"))
    assert main(command) == 0
    (metrics,) = (tmp_path / "out").rglob("metrics.jsonl")
    before = metrics.stat().st_mtime_ns
    assert json.loads(metrics.read_text().splitlines()[0])["simulated"]
    assert assert_told_as_asked(metrics.parent)["seed"] == 3
    (page,) = (tmp_path / "out").rglob("report.html")
    assert "its devices were simulated" in page.read_text("utf-8")
    assert main(command) == 0
    assert metrics.stat().st_mtime_ns == before
    capsys.readouterr()
    assert main((*command, "--set", "link=5Mbit")) == 2
    assert "a simulation has no links" in capsys.readouterr().err
