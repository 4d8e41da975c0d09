"""Experiment files: matrices, what may be in them, and what is said of what may not."""

import io
import re

import pytest
from rich.console import Console

from slfac.testbed.experiment.emulated import lan_plan
from slfac.testbed.experiment.plan import read_experiment, shipped
from slfac.testbed.experiment.run import Order, run_experiment, show_experiment
from slfac.testbed.experiment.settings import RunSettings
from slfac.testbed.link import LinkRate
from slfac.wire.errors import SettingsError, SlfacError

BASE = """
title = "two codecs"
[base]
model = "cnn"
cut = "pool1"
data = "mnist5k"
devices = 3
"""
MATRIX = """
[[matrix]]
codec = ["none", "slfac"]
partition = ["iid", "dirichlet:beta=0.5"]
seed = [0, 1]
"""
PUBLISHED = """
[[published]]
label = "Somebody, 2026"
round = 15
accuracy = 98.4
where = { codec = "none", link = ["5Mbit"] }
"""


@pytest.fixture
def console():
    return Console(file=io.StringIO())


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, name="mine.toml", **changes):
        file = tmp_path / name
        file.write_text(text)
        return read_experiment(str(file), changes)

    return write_and_read


def test_every_combination_is_a_run_and_seeds_come_one_after_the_other(read):
    experiment = read(BASE + MATRIX)
    assert experiment.name == "mine"
    assert len(experiment.runs) == 8
    assert [run.seed for run in experiment.runs] == [0] * 4 + [1] * 4
    assert {(run.codec, run.partition) for run in experiment.runs[:4]} == {
        ("none", "iid"),
        ("none", "dirichlet:beta=0.5"),
        ("slfac", "iid"),
        ("slfac", "dirichlet:beta=0.5"),
    }
    assert experiment.label(experiment.runs[1]) == "none, dirichlet:beta=0.5, seed 0"


def test_a_run_that_two_blocks_have_is_made_once(read):
    more = '\n[[matrix]]\ncodec = ["slfac"]\nseed = [1, 2]\n'
    assert len(read(BASE + MATRIX + more).runs) == 9


def test_a_block_has_settings_of_its_own_and_links_one_a_device(read):
    text = """
[[matrix]]
codec = ["none"]
link = ["", "5Mbit/20ms", ["1Mbit/2Mbit", "4Mbit"]]
set = { rounds = 3 }
"""
    runs = read(BASE + text).runs
    assert [run.rounds for run in runs] == [3, 3, 3]
    assert runs[0].links == ()
    assert runs[1].links == (LinkRate(5e6, 5e6, 0.02),) * 3
    # The last one serves all further devices.
    assert runs[2].links == (LinkRate(1e6, 2e6), LinkRate(4e6, 4e6), LinkRate(4e6, 4e6))


def test_what_is_given_beside_a_file_goes_before_it(read):
    assert {run.rounds for run in read(BASE + MATRIX, rounds=2).runs} == {2}
    assert len(read(BASE + MATRIX, seed=5).runs) == 4


def test_published_figures_are_of_the_runs_whose_setting_they_name(read):
    matrix = MATRIX + 'link = ["5Mbit", "20Mbit"]\n'
    for where, count in (('"5Mbit"', 4), ('["20Mbit"]', 4), ('["5Mbit", "20Mbit"]', 0), ('""', 0)):
        experiment = read(BASE + matrix + PUBLISHED.replace('["5Mbit"]', where))
        (figure,) = experiment.published
        fitting = [run for run in experiment.runs if figure.fits(dict(run))]
        assert len(fitting) == count
        assert {run.codec for run in fitting} <= {"none"}


def test_a_path_of_data_is_taken_from_the_files_folder(read, tmp_path):
    (tmp_path / "own.npz").write_bytes(b"")
    text = BASE.replace("mnist5k", "own.npz") + MATRIX
    assert {run.data for run in read(text).runs} == {str(tmp_path / "own.npz")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = ", "is no TOML"),
        (BASE, "setting matrix is missing"),
        (BASE + "[[matrix]]\ncodec = []\n", "setting matrix.0.codec is []"),
        (BASE + '[[matrix]]\ncodecs = ["none"]\n', "the nearest is codec"),
        (BASE + "rownds = 2\n" + MATRIX, "setting rownds is 2, but there is no such setting"),
        (BASE + "rounds = 0\n" + MATRIX, "matrix[0]: setting rounds is 0"),
        (BASE.replace('cut = "pool1"\n', "") + MATRIX, "setting cut of its runs is missing"),
        (BASE + MATRIX.replace("slfac", "fog"), "codec 'fog'"),
        (BASE + MATRIX.replace("iid", "odd"), "partition 'odd'"),
        (BASE + 'mode = "solo"\n' + MATRIX, "setting mode is 'solo'"),
        (BASE + 'mode = "u-shaped"\n' + MATRIX, "mode u-shaped needs a head_cut"),
        (BASE + 'link = "5MB"\n' + MATRIX, "matrix[0]: setting link is '5MB'; give"),
        (BASE + "link = 5\n" + MATRIX, "setting link is 5, and no list; put it into brackets"),
        (BASE + MATRIX.replace("[0, 1]", "0"), "matrix.0.seed is 0, and no list"),
        (BASE + 'rounds = "2"\n' + MATRIX, "matrix[0]: setting rounds is '2'"),
        (BASE + "batch_size = true\n" + MATRIX, "setting batch_size is True"),
        (BASE + 'energy = "yes"\n' + MATRIX, "setting energy is 'yes'"),
        ("target = true\n" + BASE + MATRIX, "setting target is True"),
        (BASE + 'link = ["1Mbit", "1Mbit", "1Mbit", "1Mbit"]\n' + MATRIX, "4 links for 3 devices"),
        (BASE + 'optimizer = "sgd:lr=-1"\n' + MATRIX, "setting optimizer is"),
        (BASE + 'schedule = "never"\n' + MATRIX, "setting schedule is"),
        # By the server's own rules, before anything is started.
        (BASE + 'micro_batches = 2\nmode = "sfl-v2"\n' + MATRIX, "setting micro_batches is 2, but"),
        (BASE + "seed = 3\n" + MATRIX, "matrix[0].seed is [0, 1], and the same setting"),
        (BASE + MATRIX.replace("[0, 1]", "[0, 0]"), "give each value once"),
        (BASE + MATRIX.replace("[0, 1]", "[-1]"), "setting seed is -1"),
        (BASE.replace("two codecs", "") + MATRIX, "setting title is ''"),
        (BASE + MATRIX + PUBLISHED.replace("where", "were"), "the nearest is where"),
        (BASE + MATRIX + PUBLISHED.replace("98.4", "984"), "setting published.0.accuracy is 984"),
        (BASE + MATRIX + PUBLISHED.replace("codec", "coder"), "no run has a setting 'coder'"),
        ("x" * (1 << 21), "is larger than"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_what_to_do(read, text, said):
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert said in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert caught.value.remedy


def test_a_file_that_is_not_there_names_those_that_come_with_slfac():
    with pytest.raises(SettingsError, match=r"cannot read nowhere.*smoke"):
        read_experiment("nowhere")


@pytest.mark.parametrize("name", ["a b.toml", "runs.toml", "data.toml"])
def test_a_name_that_no_folder_shall_have_is_refused(read, name):
    with pytest.raises(SettingsError, match=r"letters, digits.*runs, data, bundles"):
        read(BASE + MATRIX, name=name)


def test_the_experiments_that_come_with_slfac_are_whole():
    experiments = {name: read_experiment(name) for name in shipped()}
    assert experiments.keys() == {"smoke", "paper", "paper-reduced", "links", "motion"}
    paper, reduced = experiments["paper"].runs, experiments["paper-reduced"].runs
    assert {run.data for run in paper} == {"mnist", "ham10000"}
    for run in (*paper, *reduced):
        assert (run.model, run.devices, run.batch_size) == ("resnet18", 5, 128)
        assert run.partition in ("iid", "dirichlet:beta=0.5")
    assert "REDUCED" in experiments["paper-reduced"].note
    assert {(run.train_samples, run.rounds) for run in reduced} == {(10_000, 15)}
    links = experiments["links"].runs
    assert {run.links[0].up_bit_per_s for run in links if run.links[0].loss} == {20e6}
    slow = [run.seed for run in links if run.codec == "none" and run.link == ("5Mbit/20ms",)]
    assert slow == [0]
    assert {run.partition for run in experiments["motion"].runs} == {"own", "iid"}


def test_a_backend_refuses_what_it_cannot_do_before_anything_is_fetched_or_said(tmp_path, console):
    with pytest.raises(SettingsError, match=r"links: matrix\[0\]: setting link is .*1%.*--emulate"):
        run_experiment(Order(name="links", out=tmp_path / "out"), console)
    assert not (tmp_path / "out").exists()
    assert console.file.getvalue() == ""


def test_a_dry_run_lists_what_a_backend_refuses_and_then_refuses_it(tmp_path, console):
    with pytest.raises(SettingsError, match=r"1%.*--emulate"):
        show_experiment(Order(name="links", out=tmp_path / "out"), console)
    assert not (tmp_path / "out").exists()
    shown = console.file.getvalue()
    assert len(re.findall(r"seed \d +unknown", shown)) == 53
    assert "are there" not in shown


def test_a_dry_run_without_the_data_lists_the_runs_and_says_what_is_missing(
    tmp_path, digits, console
):
    file = tmp_path / "mine.toml"
    text = (
        BASE.replace("mnist5k", str(digits)) + 'train_samples = 100\n[[matrix]]\ncodec=["none"]\n'
    )
    file.write_text(
        text + 'set = { seed = 5 }\n[[matrix]]\ncodec=["none"]\nset = {data = "away"}\n'
    )
    with pytest.raises(SettingsError) as caught:
        show_experiment(Order(name=str(file), out=tmp_path / "out"), console)
    assert str(caught.value).startswith(f"{file}: matrix[1]: setting data is 'away', which is no")
    shown = console.file.getvalue()
    assert re.search(r"none, away, seed 0 +unknown", shown)
    assert re.search(r"none, .*seed 5 +to do", shown)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"jobs": 0}, "setting jobs is 0"),
        ({"folders": {"mnist": "nowhere"}}, "has no data set of that name"),
        ({"folders": {"mnist5k": "nowhere"}}, "there is no such path"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(values, said, tmp_path, console):
    if "folders" in values:
        values = {"folders": {name: tmp_path / path for name, path in values["folders"].items()}}
    with pytest.raises(SettingsError, match=said):
        show_experiment(Order(name="smoke", out=tmp_path / "out", **values), console)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ('model = "cnnn"', "setting model is 'cnnn': slfac.export.models has no model 'cnnn'"),
        ('model = "nowhere:make"', "setting model is 'nowhere:make': model factory"),
        ('model = "json:dumps"', "setting model is 'json:dumps': arguments of model"),
        ("kwargs = { chanels = [4] }", "setting kwargs is {'chanels': [4]}: arguments of model"),
        ('kwargs = { channels = "a" }', "setting kwargs is {'channels': 'a'}: argument channels"),
        ('cut = "pool9"', "setting cut is 'pool9': cut 'pool9' is not in the model; choose one"),
        (
            'mode = "u-shaped"\nhead_cut = "relu9"',
            "setting head_cut is 'relu9': cut 'relu9' is not in the model; choose one of",
        ),
        ("train_samples = 10000", "setting data is"),
    ],
)
def test_what_the_model_or_the_data_refuses_is_named_as_in_the_file(
    changed, said, tmp_path, digits, console
):
    name = changed.split(" ", 1)[0]
    plain = {"model": 'model = "cnn"', "cut": 'cut = "pool1"', "data": f'data = "{digits}"'}
    lines = [line for key, line in plain.items() if key != name]
    file = tmp_path / "mine.toml"
    file.write_text("\n".join(['title = "one"', "[base]", *lines, changed, MATRIX]))
    order = Order(name=str(file), out=tmp_path / "out")
    for carry_out in (show_experiment, run_experiment):
        with pytest.raises(SlfacError) as caught:
            carry_out(order, console)
        line = str(caught.value)
        assert line.startswith(f"{file}: matrix[0]: {said}")
        assert caught.value.remedy
        assert "\n" not in line


def test_an_emulated_lan_has_the_links_of_a_run():
    links = ["1Mbit/2Mbit/20ms/3%", "5Mbit"]
    given = RunSettings(model="cnn", cut="pool1", data="x", devices=3, link=links, seed=7)
    plan = lan_plan(given)
    assert plan.seed == 7
    found = [
        (one.device, one.up_bit_per_s, one.down_bit_per_s, one.delay_s, one.loss, one.jitter_s)
        for one in plan.links
    ]
    assert found == [
        ("device-1", 1e6, 2e6, 0.02, 0.03, 0.0),
        ("device-2", 5e6, 5e6, 0.0, 0.0, 0.0),
        ("device-3", 5e6, 5e6, 0.0, 0.0, 0.0),
    ]
    assert lan_plan(given).name != plan.name
    free = lan_plan(given.model_copy(update={"link": ()}))
    assert [one.up_bit_per_s for one in free.links] == [None] * 3
