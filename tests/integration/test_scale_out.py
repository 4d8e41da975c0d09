"""Ranks that torchrun starts train what one server trains, whoever of them is killed."""

import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.site import Site
from harness.torchrun import Ranks, weights

ROUNDS, STEPS = 6, 10
SETTINGS = {
    "rounds": ROUNDS,
    "steps_per_round": STEPS,
    "batch_size": 8,
    "optimizer": "sgd:lr=0.01,momentum=0.9",
    "codec_up": "none",
    "codec_down": "none",
    "seed": 3,
}
SHARDS = {"--shards": "3,1", **{f"--{name.replace('_', '-')}": v for name, v in SETTINGS.items()}}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A small CNN without and with BatchNorm, which both halves then have."""
    from slfac.export import export_bundle
    from slfac.wire.manifest import Preprocessing

    folder = tmp_path_factory.mktemp("bundles")
    for batch_norm in (False, True):
        export_bundle(
            model="cnn",
            kwargs={"channels": [4, 8], "hidden": 16, "batch_norm": batch_norm},
            cut="pool1",
            input_shape=(1, 12, 12),
            out=folder / str(batch_norm),
            num_classes=10,
            seed=0,
            preprocessing=Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,)),
        )
    return folder


@pytest.fixture(scope="module")
def alone(bundles, digits, tmp_path_factory):
    """What one server makes of four devices, by whether there is BatchNorm."""
    made = {}
    for batch_norm in (False, True):
        root = tmp_path_factory.mktemp("alone")
        site = Site.make(root, bundles / str(batch_norm), digits, devices=4)
        with site.server(**SETTINGS) as server:
            devices = [site.device(n, server.address, journal=root / n) for n in site.names]
            for device in devices:
                device.start()
            for device in devices:
                device.finish()
        made[batch_norm] = server, weights(root / "out")
    return made


def ranks(root, bundles, digits, *, batch_norm, **more):
    site = Site.make(root, bundles / str(batch_norm), digits, devices=4)
    return Ranks(site, {**SHARDS, "--data": digits}, **more)


def check_as_alone(run, alone):
    """Every rank's weights and momentum, and what the first says of the run."""
    server, expected = alone
    for rank in range(2):
        for name, path in run.weights(rank).items():
            ours, theirs = load_file(path), load_file(expected[name])
            assert ours.keys() == theirs.keys()
            for key in ours.keys() - {"rng.torch"}:
                difference = np.abs(ours[key].astype(np.float64) - theirs[key])
                assert difference.max(initial=0.0) <= 1e-6, (rank, name, key)
    ours = [event for event in run.events(0) if event["event"] == "round"]
    theirs = server.of_kind("round")
    assert len(ours) == len(theirs) == ROUNDS
    for one, other in zip(ours, theirs, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
        assert (one["devices"], one["best_round"]) == (4, other["best_round"])
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)


@pytest.mark.slow
@pytest.mark.timeout(800)  # torch is imported by each of many processes
def test_two_ranks_with_three_and_one_devices_train_what_one_server_does(
    bundles, digits, alone, tmp_path
):
    with ranks(tmp_path, bundles, digits, batch_norm=False) as run:
        results = run.train()
    assert [result.steps for result in results] == [ROUNDS * STEPS] * 4
    check_as_alone(run, alone[False])
    # Each rank has its own devices in its folder, and all came by the first one's address.
    served = [{e["device"] for e in run.events(rank) if e["event"] == "step"} for rank in (0, 1)]
    assert served == [{"d0", "d1", "d2"}, {"d3"}]


@pytest.mark.slow
@pytest.mark.timeout(800)  # torch is imported by each of many processes
def test_with_batch_norm_and_a_killed_rank_they_do_so_too(bundles, digits, alone, tmp_path):
    def kill(run):
        # In the middle of the third round.
        run.await_events(1, "step", 2 * STEPS + 4)
        run.kill(1)

    with ranks(tmp_path, bundles, digits, batch_norm=True, restarts=1) as run:
        run.train(kill)
    check_as_alone(run, alone[True])
    for rank in range(2):
        kinds = [event["event"] for event in run.events(rank)]
        assert (kinds.count("restarted"), kinds.count("round")) == (1, ROUNDS)
        # What was made again stands in the metrics once.
        assert kinds.count("step") == (3 if rank == 0 else 1) * ROUNDS * STEPS
    said = [line for line in run.lines if line.startswith("slfac server, rank 0: ")]
    # Whoever is first ends it: torchrun, or the link to the rank that is gone.
    end = re.compile(r".*rank 0: (terminated$|the link to another rank broke: [A-Z][^/]*; see)")
    assert sum(bool(end.match(line)) for line in said) == 1, said


@pytest.mark.slow
@pytest.mark.timeout(800)  # torch is imported by each of many processes
def test_a_rank_that_can_never_begin_ends_all_of_them_and_says_why(bundles, digits, tmp_path):
    run = ranks(tmp_path, bundles, digits, batch_norm=False, restarts=1)
    earlier = run.out / "rank-1" / "metrics.jsonl"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("")
    with run:
        assert run.process.wait(300) == 1
    why = f"setting out is '{run.out}', which holds an earlier run; "
    said = [line.removeprefix("slfac server, ") for line in run.lines if "slfac server, " in line]
    # torchrun tries twice, and ends whoever has not ended by then.
    assert sum(line.startswith(f"rank 1: {why}") for line in said) == 2, said
    others = [line for line in said if line.startswith("rank 0: ")]
    assert others, said
    assert all(line.startswith((f"rank 0: rank 1: {why}", "rank 0: terminated")) for line in others)
    assert not (run.out / "rank-0" / "metrics.jsonl").exists()
