"""Plans of rate experiments: points, settings, plan files, and the best of a result."""

import json
import subprocess
from pathlib import Path

import pytest

from slfac.testbed.experiment.points import parse_point
from slfac.testbed.link import LinkRate
from slfac.testbed.rate.plan import rate_plan
from slfac.wire.errors import SettingsError

ROOT = Path(__file__).parents[3]
PLANS = sorted((ROOT / "testbed" / "plans").glob("*.toml"))


def test_a_spec_alone_serves_both_ways():
    point = parse_point("slfac:theta=0.8")
    assert point.up == point.down
    assert point.up.startswith("slfac:theta=0.8,")
    assert (point.label, point.family) == ("slfac:theta=0.8", "slfac")


def test_a_point_may_have_a_codec_each_way():
    point = parse_point("topk:ratio=0.1@fp16")
    assert point.up.startswith("topk:ratio=0.1")
    assert point.down == "fp16"
    assert point.family == "topk@fp16"


@pytest.mark.parametrize(
    "text", ["", "@", "slfac@", "@slfac", "slfac@fp16@none", "nope", "slfac:theta=2"]
)
def test_a_point_that_is_none_is_refused_by_name(text):
    with pytest.raises(SettingsError) as caught:
        parse_point(text)
    assert repr(text) in str(caught.value)
    assert caught.value.remedy


def test_none_is_always_run_and_first():
    plan = rate_plan(codecs=("fp16", "slfac"))
    assert [point.label for point in plan.points] == ["none", "fp16", "slfac"]


def test_codecs_that_come_to_the_same_are_run_once():
    same = parse_point("slfac").up
    plan = rate_plan(codecs=("none", "slfac", same, "slfac@slfac"))
    assert len(plan.points) == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"codecs": ("fog",)}, "codec 'fog'"),
        ({"seeds": ()}, "setting seeds"),
        ({"seeds": (1, 1)}, "setting seeds"),
        ({"seeds": (-1,)}, "setting seeds.0 is -1"),
        ({"rounds": 0}, "setting rounds is 0"),
        ({"jobs": 0}, "setting jobs is 0"),
        ({"target": 101.0}, "setting target is 101.0"),
        ({"target": float("nan")}, "setting target is nan"),
        ({"best_within": float("nan")}, "setting best_within is nan"),
        ({"split": "train"}, "setting split is 'train'"),
        ({"link": ("5MB",)}, "setting link is '5MB'"),
        ({"link": ("5Mbit",) * 3}, "setting link has 3 rates for 2 devices"),
        ({"optimizer": "sgd:lr=-1"}, "lr"),
        ({"partition": "odd"}, "partition 'odd'"),
        ({"model": "resnet18"}, "setting cut is missing"),
        ({"colour": "red"}, "setting colour is 'red'"),
        ({"name": "../up"}, "setting name"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(values, said):
    with pytest.raises(SettingsError) as caught:
        rate_plan(**values)
    assert said in str(caught.value)


def test_a_model_of_ones_own_has_none_of_the_default_ones_arguments():
    assert rate_plan(model="cnn", cut="pool1").kwargs == {}
    assert rate_plan().kwargs == {"channels": [16, 32], "pool_after": [2]}


def test_options_override_a_plan_file(tmp_path):
    file = tmp_path / "night.toml"
    file.write_text('codecs = ["none", "fp16"]\nrounds = 9\nlink = ["1Mbit/2Mbit"]\n')
    plan = rate_plan(file, rounds=2)
    assert (plan.name, plan.rounds) == ("night", 2)
    assert [point.label for point in plan.points] == ["none", "fp16"]
    assert plan.runs[0].links == (LinkRate(1e6, 2e6),) * plan.devices


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"codecs = [", "is no TOML"),
        (b"\xff", "is no text"),
        (b"speed = 3", "setting speed is 3"),
        (b'codecs = "none"', "setting codecs"),
        (b'codecs = ["fog"]', "codec 'fog'"),
        (b"#" * (1 << 21), "is larger than"),
    ],
)
def test_a_plan_file_that_cannot_be_read_says_why(tmp_path, content, said):
    file = tmp_path / "plan.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        rate_plan(file)
    assert said in str(caught.value)
    assert str(caught.value).count(str(file)) == 1


def test_a_plan_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(SettingsError, match="cannot read"):
        rate_plan(tmp_path / "none.toml")


def chosen(tmp_path, split="validation"):
    file = tmp_path / "result.json"
    best = {"none": "none", "topk": "topk:ratio=0.1", "slfac": "slfac:theta=0.8"}
    best = {family: {"codec": codec, "within": True} for family, codec in best.items()}
    file.write_text(json.dumps({"plan": {"split": split}, "best": best, "runs": []}))
    return file


def test_the_best_of_a_validation_result_are_run(tmp_path):
    file = chosen(tmp_path)
    best = ["none", "topk:ratio=0.1", "slfac:theta=0.8"]
    assert [p.label for p in rate_plan(best_of=file).points] == best
    both = rate_plan(best_of=file, codecs=("fp16",))
    assert [p.label for p in both.points] == ["none", "fp16", *best[1:]]


def test_settings_are_never_chosen_on_the_test_set(tmp_path):
    with pytest.raises(SettingsError, match="scored on the test set"):
        rate_plan(best_of=chosen(tmp_path, split="test"))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"best": {}}', b'{"plan": 3, "best": {}}'])
def test_a_result_that_is_none_is_refused(tmp_path, content):
    file = tmp_path / "result.json"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="is no result"):
        rate_plan(best_of=file)


def test_a_result_is_kept_as_json():
    with pytest.raises(SettingsError, match="setting result is"):
        rate_plan(result="table.md")


def test_the_plans_that_come_with_slfac_are_valid():
    sweeps = {"rate", "rivals"}
    assert {file.stem for file in PLANS} == {*sweeps, "test", "link", "ablation", "resnet18"}
    for file in PLANS:
        plan = rate_plan(file)
        on_validation = file.stem in {*sweeps, "ablation"}
        assert plan.split == ("validation" if on_validation else "test")
        # These only choose what test.toml then scores.
        assert len(plan.seeds) >= (2 if file.stem in sweeps else 3)


@pytest.mark.parametrize("plan", PLANS, ids=lambda file: file.stem)
def test_make_runs_each_plan(plan):
    target = {"rate": "results-rate"}.get(plan.stem, f"results-{plan.stem}")
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "slfac experiment rate" in done.stdout
    assert f"--plan testbed/plans/{plan.name}" in done.stdout
