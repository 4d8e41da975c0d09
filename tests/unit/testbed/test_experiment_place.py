"""What a run's settings say about where it went on, so that it is not taken for another."""

import pytest
import torch

from slfac.testbed.experiment.emulated import lan_plan
from slfac.testbed.experiment.job import Workshop
from slfac.testbed.experiment.job import place_of as place_of_run
from slfac.testbed.experiment.local import Local
from slfac.testbed.experiment.settings import RunSettings
from slfac.wire.errors import SettingsError


def place_of(jobs=1, **settings):
    run = RunSettings(model="cnn", cut="pool2", data="mnist5k", **settings)
    return place_of_run(run, Local(), jobs, "abc")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_on_a_cpu_without_links_it_is_machine_versions_and_samples():
    place = place_of(jobs=3)
    assert place.keys() == {"backend", "machine", "versions", "samples"}
    assert place["samples"] == "abc"


@pytest.mark.usefixtures("gpu")
def test_a_gpu_is_part_of_it_where_it_is_used():
    assert place_of()["gpu"] == "Some GPU"
    assert "gpu" not in place_of(torch_device="cpu")


@pytest.mark.usefixtures("no_gpu")
def test_over_links_so_is_how_many_runs_share_the_machine():
    assert place_of(link="5Mbit", jobs=2)["jobs"] == 2
    assert place_of(energy=True, jobs=3)["jobs"] == 3


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_asked_for_and_not_there_is_said_before_anything_runs():
    with pytest.raises(SettingsError, match="torch_device is 'cuda'"):
        place_of(torch_device="cuda")


def test_emulated_hosts_of_a_run_are_nobody_elses():
    run = RunSettings(model="cnn", cut="pool2", data="mnist5k")
    assert lan_plan(run).made_by == "slfac experiment"


# Each with a value that is not the one of BASE, and what else it needs.
CHANGES = [
    {"split": "validation", "held_out": 40},
    {"train_samples": 100},
    {"devices": 3},
    {"codec": "fp16@slfac"},
    {"codec": "slfac@fp16"},
    {"mode": "sfl-v1"},
    {"partition": "dirichlet:beta=0.5"},
    {"link": "5Mbit"},
    {"link": "6Mbit"},
    {"seed": 1},
    {"rounds": 3},
    {"steps_per_round": 4},
    {"batch_size": 5},
    {"optimizer": "sgd:lr=0.01"},
    {"device_optimizer": "sgd:lr=0.01"},
    {"schedule": "cosine:final=0.1"},
    {"micro_batches": 2},
    {"stream_blocks": 2},
    {"precision": "bf16"},
    {"energy": True},
    {"cut": "pool2"},
]


def test_a_run_is_found_again_by_each_of_its_settings(tmp_path, digits):
    workshop = Workshop(tmp_path, Local(), 1, {}, lambda _: None)
    base = {"model": "cnn", "cut": "pool1", "data": str(digits), "train_samples": 200}
    base |= {"kwargs": {"channels": [2, 4], "hidden": 4}, "torch_device": "cpu"}
    settings = [RunSettings(**{**base, **change}) for change in ({}, *CHANGES)]
    # What has no case: it is in the hash of bundle or samples, as cut is, or in the GPU's name.
    told = {name for change in CHANGES for name in change}
    left = {"model", "kwargs", "head_cut", "data", "torch_device"}
    assert RunSettings.model_fields.keys() - told == left
    folders = [workshop.make(one, "x").folder for one in settings]
    assert len(set(folders)) == len(folders)
    assert workshop.make(settings[0], "another name").folder == folders[0]
    again = Workshop(tmp_path, Local(), 2, {}, lambda _: None)
    # How many go on at once counts only where seconds are part of the result.
    assert again.make(settings[0], "x").folder == folders[0]
    assert again.make(RunSettings(**base, link="5Mbit"), "x").folder not in folders
