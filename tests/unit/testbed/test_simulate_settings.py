"""What a simulation refuses before anything starts, and what it says."""

from pathlib import Path

import pytest

from harness.offline import KEPT, KEPT_HEAD
from slfac.cli import main
from slfac.testbed.experiment.settings import RunSettings
from slfac.testbed.simulate import simulation
from slfac.testbed.simulate.backend import Simulated
from slfac.wire.errors import BundleError, SettingsError

DATA = Path("images")


def made(**values):
    return simulation(**{"bundle": KEPT, "data": DATA, **values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"devices": 0}, "setting devices is 0"),
        ({"devices": 100_000}, "setting devices is 100000"),
        ({"data": None}, "setting data is missing"),
        ({"mode": "async"}, "setting mode is 'async'.* a simulation does not know"),
        ({"mode": "async:staleness=2"}, "a simulation does not know"),
        ({"step_deadline_s": 1.0}, "setting step_deadline_s is 1.0.* never late or away"),
        ({"keys": "keys"}, "setting keys is 'keys'.* no sockets"),
        ({"bind": "tcp://127.0.0.1:5"}, "setting bind"),
        ({"min_devices": 2}, "setting min_devices"),
        ({"codec_up": "zip"}, "setting codec_up is 'zip'"),
        ({"mode": "fast"}, "setting mode is 'fast'"),
        ({"partition": "dirichlet:beta=-1"}, "setting partition"),
        ({"rounds": 0}, "setting rounds"),
        ({"colour": "red"}, "colour"),
        ({"devices": 2, "device_data": (DATA,) * 3}, "device_data has 3 data sets for 2 devices"),
    ],
)
def test_what_a_simulation_has_not_is_refused_by_name(values, message):
    with pytest.raises(SettingsError, match=message):
        made(**values)


def test_a_bundle_that_is_none_is_named(tmp_path):
    with pytest.raises(BundleError, match=str(tmp_path)):
        made(bundle=tmp_path)


def test_scores_are_the_devices_where_labels_are():
    assert made().settings.data == DATA
    assert made(bundle=KEPT_HEAD).settings.data is None
    assert made(bundle=KEPT_HEAD).data == (DATA,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resume", "nowhere"), "holds no checkpoint"),
        (("--resume", "nowhere", "--out", "b"), "--out b is given, but --resume has"),
        (("--resume", "nowhere", "--devices", "3"), "--devices 3 is given"),
        (("--bundle", str(KEPT), "--data", "nowhere"), "nowhere"),
        (("--bundle", str(KEPT), "--data", "x", "--optimizer", "adam:lr=fast"), "optimizer"),
    ],
)
def test_the_command_says_in_a_line_what_is_wrong(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *options]) in {2, 10}
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1, said


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"link": "5Mbit"}, "setting link is '5Mbit', and a simulation has no links"),
        ({"energy": True}, "no sensors"),
        ({"mode": "async"}, "order depends on time"),
    ],
)
def test_an_experiment_is_told_what_cannot_be_simulated(values, message):
    given = RunSettings(**{"model": "cnn", "cut": "pool1", "data": "x", **values})
    with pytest.raises(SettingsError, match=message):
        Simulated().check(given)
