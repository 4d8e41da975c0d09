"""The prediction test on fronts whose times were made up: scores, choices, refusals."""

import json

import pytest
from rich.console import Console

from harness.plans import costs, layer, timed
from slfac.testbed.plan.candidates import CANDIDATES
from slfac.testbed.plan.fronts import ModelCase, TimedFront, block_cuts
from slfac.testbed.plan.predict import PredictSettings, evaluate, run_predict_bench
from slfac.testbed.plan.predict_page import predict_page
from slfac.wire.errors import SettingsError

KINDS = ("conv", "depthwise", "matmul", "norm", "other")


def front(model, index, factor=1.0):
    layers = [
        layer(KINDS[(index + j) % 5], 10**6 * (1 + 7 * index * (j + 1) % 11), 1000 * (1 + index))
        for j in range(1 + index % 4)
    ]
    counted = costs(*layers)
    times = timed(counted, 8, gflops=10.0 / factor)
    by_phase = {p: [getattr(times, f"{p}_ms")] * 3 for p in ("forward", "backward", "update")}
    return TimedFront(model, f"cut{index}", index, 8, counted, by_phase)


def test_fronts_of_one_speed_are_predicted_whatever_was_left_out():
    fronts = [front("a", i) for i in range(16)]
    scores, choices = evaluate(fronts)
    assert [score.part for score in scores] == ["forward", "backward", "update", "step"]
    for score in scores:
        assert (score.fronts, score.inside) == (8, 8)
        assert score.largest < 1e-6
    best = [choice for choice in choices if choice.candidate == "sum, a speed a kind"]
    assert [choice.phase for choice in best] == ["forward", "backward"]
    assert all(choice.rms < 1e-4 and choice.other_model_rms is None for choice in best)
    assert {choice.candidate for choice in choices} == set(CANDIDATES)


def test_a_model_of_another_speed_is_off_when_it_was_not_seen():
    fronts = [front("a", i) for i in range(16)] + [front("b", i, factor=4.0) for i in range(16)]
    scores, choices = evaluate(fronts)
    unseen = [score for score in scores if score.test == "b from the other models"]
    assert unseen[0].median > 0.3
    assert all(choice.other_model_rms > choice.rms for choice in choices)
    page = predict_page(
        {
            "command": "slfac bench predict",
            "date": "2026-01-01T00:00:00",
            "machine": {"processor": "a processor"},
            "batch_sizes": [8],
            "sweeps": 3,
            "models": {"a": {}, "b": {}},
            "fronts": [{"model": f.model, "cut": f.cut} for f in fronts],
            "scores": [{name: getattr(s, name) for name in s.__struct_fields__} for s in scores],
            "choices": [{n: getattr(c, n) for n in c.__struct_fields__} for c in choices],
        }
    )
    assert "32 cuts of a, b, batches of 8, a processor" in page
    assert page.count("\n| odd cuts") == 4


def test_cuts_between_blocks():
    cuts = block_cuts(ModelCase("resnet18", (3, 32, 32)))
    assert {"relu", "layer1.0", "layer1", "layer4"} <= set(cuts)
    assert not any(".add" in cut or cut.count(".") > 1 for cut in cuts)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"models": ("alexnet",)}, "setting models holds 'alexnet'"),
        ({"sweeps": 0}, "setting sweeps is 0"),
        ({"batch_sizes": (8, 0)}, "setting batch_sizes holds 0"),
        ({"batch_sizes": ()}, "setting batch_sizes is empty"),
        ({"times": "x.json"}, "--times needs the fronts"),
        ({"profile": "x.toml"}, "--profile needs the fronts"),
    ],
)
def test_settings_out_of_range_are_refused(fields, said):
    with pytest.raises(SettingsError, match=said):
        run_predict_bench(PredictSettings(**fields), Console(quiet=True))


def test_times_that_are_no_result_are_refused(tmp_path):
    path = tmp_path / "times.json"
    for text in ("", "[]", json.dumps({"fronts": 1}), json.dumps({"fronts": []})):
        path.write_text(text)
        settings = PredictSettings(times=path, bundles=tmp_path)
        with pytest.raises(SettingsError, match="which is no result"):
            run_predict_bench(settings, Console(quiet=True))
