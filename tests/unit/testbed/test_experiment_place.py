"""What a run's settings say about where it went on, so that it is not taken for another."""

import pytest
import torch

from slfac.testbed.experiment.emulated import lan_plan
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
