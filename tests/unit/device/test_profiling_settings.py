"""What can be asked of a measurement, and what is refused."""

from pathlib import Path

import pytest

from slfac.device.profiling.progress import Progress, about
from slfac.device.profiling.settings import QUICK, profile_settings
from slfac.device.profiling.trial import front_names
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device


def test_defaults_are_those_of_the_protocol():
    settings = profile_settings()
    assert (settings.idle_s, settings.warm_up, settings.repetitions) == (60.0, 20, 5)
    assert (settings.bundles, settings.data) == ((), None)


def test_a_quick_look_is_a_valid_setting():
    assert profile_settings(**QUICK, repetitions=6).idle_s == QUICK["idle_s"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"repetitions": 4}, "setting repetitions is 4"),
        ({"idle_s": -1.0}, "setting idle_s is -1.0"),
        ({"idle_s": float("nan")}, "setting idle_s is nan"),
        ({"least_s": 0.0}, "setting least_s is 0.0"),
        ({"batch_size": 1}, "setting batch_size is 1"),
        ({"threads": 0}, "setting threads is 0"),
        ({"bundles": "a"}, "setting bundles is 'a'"),
        ({"bundles": [3]}, "setting bundles is [3]"),
        ({"codecs": ["nope"]}, "codec is 'nope'"),
        ({"codecs": ["slfac", "slfac:theta=0.9"]}, "is given twice"),
        ({"bundles": ["b", "./b"]}, "is given twice"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_refused_is_named(values, said):
    with pytest.raises(SettingsError) as refused:
        profile_settings(**values)
    assert said in str(refused.value)
    assert refused.value.remedy


def test_fronts_go_by_their_folders_unless_these_are_alike(tmp_path):
    one, two, three = tmp_path / "a" / "cut", tmp_path / "b" / "cut", tmp_path / "other"
    assert front_names((one, two, three)) == [str(one), str(two), "other"]
    assert front_names((Path(),)) == [Path.cwd().name]


def test_progress_counts_and_says_how_long_the_rest_takes():
    lines = []
    progress = Progress(lines.append, [60.0, 150.0, 3.0])
    for label in ("idle before", "front a", "idle after"):
        progress.begin(label)
    assert lines == [
        "[1/3] idle before, about 4 min left",
        "[2/3] front a, about 3 min left",
        "[3/3] idle after, some seconds left",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "some seconds"), (12, "about 10 s"), (95, "about 2 min"), (7200, "about 2.0 h")],
)
def test_times_are_said_as_people_estimate_them(seconds, said):
    assert about(seconds) == said
