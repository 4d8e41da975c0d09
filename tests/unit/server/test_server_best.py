"""Which round is the best, and when there is no gain any more."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.offline import manifest_with
from slfac.server.best import EarlyStop, Watch, make_watch, parse_early_stop
from slfac.server.evaluate import Score
from slfac.server.scores import ClassScores
from slfac.wire.errors import SettingsError


def score(loss=1.0, accuracy=0.5, balanced=0.5):
    return Score(loss, accuracy, 10, ClassScores(balanced, (), None))


def looked(measure, values, early_stop=None):
    name = "balanced" if measure == "balanced_accuracy" else measure
    watch = Watch(measure, early_stop)
    for round_, value in enumerate(values):
        watch.look(round_, score(**{name: value}) if value is not None else None)
    return watch


def test_specs():
    assert parse_early_stop("patience=5") == EarlyStop(5, 0.0)
    assert parse_early_stop("min_delta=0.01") == EarlyStop(3, 0.01)
    for bad in ("", "patience=1.5", "min_delta=-1", "min_delta=nan", "patience=3,patience=3"):
        with pytest.raises(SettingsError) as caught:
            parse_early_stop(bad)
        assert caught.value.remedy


@pytest.mark.parametrize(
    ("measure", "values", "best"),
    [
        ("accuracy", [0.1, 0.3, 0.2, 0.3], 1),
        ("balanced_accuracy", [0.1, 0.0, 0.2], 2),
        ("loss", [2.0, math.nan, None, 1.0, 1.5, math.inf], 3),
        ("loss", [None, math.nan], None),
    ],
)
def test_the_first_of_the_best_scores_wins(measure, values, best):
    watch = looked(measure, values)
    assert watch.state()["best_round"] == best
    assert (watch.best and watch.best.value) == (values[best] if best is not None else None)
    assert not watch.stops


def test_small_gains_are_the_best_yet_do_not_keep_a_run_going():
    watch = looked("accuracy", [0.5, 0.505, 0.509], EarlyStop(2, 0.01))
    assert watch.best.round == 2
    assert watch.stops
    # Together they are a gain: it is measured from the last that counted.
    assert not looked("accuracy", [0.5, 0.505, 0.511], EarlyStop(2, 0.01)).stops


def test_rounds_without_a_score_are_rounds_without_gain():
    assert looked("loss", [1.0, None, math.nan], EarlyStop(2, 0.0)).stops
    assert not looked("loss", [None, 2.0, math.nan], EarlyStop(2, 0.0)).stops


@given(st.lists(st.floats(0, 1), max_size=30), st.integers(1, 5))
def test_it_stops_exactly_after_so_many_rounds_without_a_gain(values, patience):
    watch = Watch("accuracy", EarlyStop(patience, 0.0))
    for round_, value in enumerate(values):
        assert watch.look(round_, score(accuracy=value)) == (
            round_ == 0 or value > max(values[:round_])
        )
        first_of_best = values.index(max(values[: round_ + 1]))
        assert watch.stops == (round_ - first_of_best >= patience)


@pytest.mark.parametrize(
    ("loss", "outputs", "best_by", "measure"),
    [
        ("cross_entropy", 4, "auto", "balanced_accuracy"),
        ("cross_entropy", 4, "loss", "loss"),
        ("bce_with_logits", 4, "accuracy", "accuracy"),
        ("bce_with_logits", 1, "auto", "loss"),
        ("mse", 4, "auto", "loss"),
        ("mse", 4, "loss", "loss"),
    ],
)
def test_the_measure_suits_the_model(loss, outputs, best_by, measure):
    manifest = manifest_with(loss=loss, num_outputs=outputs)
    assert make_watch(manifest, best_by, "").state()["measure"] == measure


def test_a_measure_that_the_model_has_not_is_refused():
    with pytest.raises(SettingsError, match=r"setting best_by is 'accuracy', but .* mse, with 4"):
        make_watch(manifest_with(loss="mse"), "accuracy", "")
