import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch

from harness.offline import kept_bundle
from slfac.server.back import BackHalf, Batch
from slfac.server.checkpoint import mark_best, write_checkpoint
from slfac.server.kept import KeptReplies
from slfac.server.modes.parallel import Parallel
from slfac.wire.errors import TrainingError

ALLOW = ("slfac.export.models",)


def trained(optimizer="sgd:lr=0.1,momentum=0.9", steps=2):
    back = BackHalf(kept_bundle(), optimizer, ALLOW)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        back.step([make_batch(rng)])
    return back


def make_batch(rng):
    smashed = torch.from_numpy(rng.normal(size=(5, 4, 4, 4)).astype(np.float32))
    return Batch((smashed,), rng.integers(0, 4, 5))


def write(folder, finished_rounds, back=None, **facts):
    return write_checkpoint(
        folder,
        finished_rounds=finished_rounds,
        front=kept_bundle().front_state(),
        mode=Parallel(back or trained()),
        kept=KeptReplies(folder),
        facts=facts,
    )


def test_a_checkpoint_holds_front_back_and_facts(tmp_path):
    back = trained()
    path = write(tmp_path, 3, back, run="r", bundle="b")
    assert path == tmp_path / "checkpoint" / "round-000003"
    front = load_file(path / "front.safetensors")
    expected = kept_bundle().front_state()
    assert {k: v.tobytes() for k, v in front.items()} == {
        k: v.tobytes() for k, v in expected.items()
    }
    for name, tensor in load_torch(path / "back.safetensors").items():
        assert torch.equal(tensor, back.module.state_dict()[name])
    state = json.loads((path / "state.json").read_text())
    assert (state["run"], state["bundle"], state["finished_rounds"]) == ("r", "b", 3)
    assert torch.equal(
        load_torch(path / "optimizer.safetensors")["rng.torch"], torch.get_rng_state()
    )


@pytest.mark.parametrize(
    "spec", ["sgd:lr=0.1,momentum=0.9", "sgd:lr=0.1", "adam:lr=0.01", "adamw:lr=0.01"]
)
def test_the_optimiser_can_be_restored_by_the_documented_names(tmp_path, spec):
    back = trained(spec)
    path = write(tmp_path, 1, back)
    other = BackHalf(kept_bundle(), spec, ALLOW)
    other.module.load_state_dict(load_torch(path / "back.safetensors"))
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in load_torch(path / "optimizer.safetensors").items():
        index, _, slot = name.partition(".")
        if index != "rng":
            slots.setdefault(int(index), {})[slot] = tensor
    groups = json.loads((path / "state.json").read_text())["optimizer"]
    for group, own in zip(groups, other.optimizer.state_dict()["param_groups"], strict=True):
        group["params"] = own["params"]
    other.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    rng = np.random.default_rng(9)
    batches = [make_batch(rng) for _ in range(3)]
    for batch in batches:
        assert back.step([batch])[0].loss == other.step([batch])[0].loss
    for name, tensor in back.module.state_dict().items():
        assert torch.equal(tensor, other.module.state_dict()[name])


def kept(folder):
    return sorted(path.name for path in (folder / "checkpoint").iterdir())


def test_the_two_newest_are_kept(tmp_path):
    back = trained()
    for finished in range(1, 5):
        write(tmp_path, finished, back)
    assert kept(tmp_path) == ["round-000003", "round-000004"]


def test_a_new_run_in_an_old_folder_keeps_its_own_checkpoints(tmp_path):
    back = trained()
    for finished in (9, 10):
        write(tmp_path, finished, back, run="old")
    for finished in (1, 2, 3):
        path = write(tmp_path, finished, back, run="new")
        assert json.loads((path / "state.json").read_text())["run"] == "new"
    assert kept(tmp_path) == ["round-000002", "round-000003", "round-000009", "round-000010"]


@pytest.mark.parametrize("failing", range(4))
def test_a_failing_write_leaves_the_checkpoints_before_it_and_no_rubbish(
    tmp_path, monkeypatch, failing
):
    import os

    path = write(tmp_path, 1, run="first")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > failing:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    for finished in (1, 2):
        with pytest.raises(TrainingError, match=r"round-00000\d: No space left.*free some space"):
            write(tmp_path, finished, run="second")
        calls.clear()
    assert kept(tmp_path) == ["round-000001"]
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "checkpoint").write_text("in the way")
    with pytest.raises(TrainingError, match=r"cannot write checkpoint .*round-000001"):
        write(tmp_path, 1)


def test_weights_that_layers_share_can_be_saved(tmp_path):
    back = trained()
    linears = [m for m in back.module.modules() if isinstance(m, torch.nn.Linear)]
    linears[0].extra = linears[-1].weight
    saved = load_torch(write(tmp_path, 1, back) / "back.safetensors")
    assert set(saved) == set(back.module.state_dict())


def test_numbers_that_are_not_finite_become_null_and_the_others_stay_whole(tmp_path):
    score = {"loss": float("nan"), "seconds": 1 / 3, "all": [float("inf"), 1e-12]}
    path = write(tmp_path, 1, trained("adam:lr=0.01,eps=1e-9"), score=score)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    state = json.loads((path / "state.json").read_text(), parse_constant=refuse)
    assert state["score"] == {"loss": None, "seconds": 1 / 3, "all": [None, 1e-12]}
    assert state["optimizer"][0]["eps"] == 1e-9


def test_at_every_instant_the_best_checkpoint_is_whole(tmp_path):
    back, best = trained(), tmp_path / "checkpoint" / "best"
    mark_best(write(tmp_path, 1, back))
    seen, over = set(), threading.Event()

    def look():
        while not over.is_set():
            seen.add(json.loads((best / "state.json").read_bytes())["finished_rounds"])

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for finished in range(2, 30):
            path = write(tmp_path, finished, back)
            if finished % 5 == 0:
                mark_best(path)
        over.set()
        looking.result()
    assert seen <= {1, 5, 10, 15, 20, 25}
    assert len(seen) > 1
    assert kept(tmp_path) == ["best", "round-000025", "round-000028", "round-000029"]


@pytest.mark.parametrize("failing", ["symlink_to", "replace"])
def test_who_dies_while_linking_leaves_the_earlier_best_and_the_next_succeeds(
    tmp_path, monkeypatch, failing
):
    back, best = trained(), tmp_path / "checkpoint" / "best"
    mark_best(write(tmp_path, 1, back))
    path = write(tmp_path, 2, back)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Path, failing, die)
        with pytest.raises(KeyboardInterrupt):
            mark_best(path)
    assert best.readlink().name == "round-000001"
    mark_best(path)
    assert best.readlink().name == "round-000002"
    assert kept(tmp_path) == ["best", "round-000001", "round-000002"]
