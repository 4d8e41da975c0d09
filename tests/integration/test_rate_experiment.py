"""`slfac experiment rate` with real processes: once whole, once stopped, once over a link."""

import json
import re
import signal

import psutil
import pytest

from harness.site import start_cli

pytestmark = pytest.mark.slow
TINY = [
    *("--train-samples", "160", "--held-out", "60", "--batch-size", "20", "--epochs", "1"),
    *("--seed", "0", "--best-within", "100"),
]


@pytest.fixture
def experiment(tmp_path, digits):
    """Starts the command on tiny data."""

    def start(*arguments):
        out = ("--out", str(tmp_path / "out"), "--result", str(tmp_path / "result.json"))
        return start_cli("experiment", "rate", "--data", str(digits), *TINY, *out, *arguments)

    return start


def finished(process, code=0):
    out, errors = process.communicate(timeout=110)
    assert process.returncode == code, out + errors
    return out, errors


def test_a_whole_experiment_and_the_next_reuses_its_runs(experiment, tmp_path):
    shown, _ = finished(experiment("--codec", "none,fp16@slfac", "--jobs", "2"))
    assert re.search(r"^  2/2  accuracy", shown, re.MULTILINE)
    result = json.loads((tmp_path / "result.json").read_text())
    none, mixed = result["summary"]
    assert (none["codec"], mixed["codec"]) == ("none", "fp16@slfac")
    assert none["ratio"] == 1.0
    assert (none["bits_per_value_up"] - 32) * 1.0 == pytest.approx(0, abs=0.05)
    assert mixed["bits_per_value_up"] == pytest.approx(16, abs=0.05)
    assert mixed["bits_per_value_down"] < 10
    for run in result["runs"]:
        # 2 devices, 4 steps of 20 images each, 32x6x6 values an image.
        assert run["smashed_values"] == run["gradient_values"] == 160 * 32 * 6 * 6
        assert run["total_bytes"] == run["bytes_up"] + run["bytes_down"]
        assert run["payload_bytes_up"] < run["bytes_up"] < run["wire_bytes_up"]
        assert (run["train_samples"], run["test_samples"]) == (160, 60)
        assert [device["torch_imported"] for device in run["per_device"]] == [False, False]
    ratio = result["runs"][0]["total_bytes"] / result["runs"][1]["total_bytes"]
    assert mixed["ratio"] == pytest.approx(ratio)
    assert result["best"]["fp16@slfac"] == {"codec": "fp16@slfac", "within": True}
    assert result["command"].startswith("slfac experiment rate --data ")

    shown, _ = finished(experiment("--codec", "none,fp16@slfac"))
    assert "2 of 2 runs are there already" in shown
    assert json.loads((tmp_path / "result.json").read_text())["runs"] == result["runs"]
    # Any other setting makes other runs.
    shown, _ = finished(experiment("--codec", "none", "--devices", "1"))
    assert "there already" not in shown
    assert re.search(r"^  1/1  accuracy", shown, re.MULTILINE)


def test_an_experiment_that_is_stopped_goes_on_where_it_was(experiment):
    process = experiment("--codec", "none,fp16")
    for line in process.stdout:
        if line.startswith("  1/2"):
            break
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = finished(process, code=130)
    assert errors == "slfac experiment: stopped\n"
    assert not psutil.wait_procs(children, timeout=20)[1]

    shown, _ = finished(experiment("--codec", "none,fp16"))
    assert "1 of 2 runs are there already" in shown
    assert re.search(r"^  2/2  accuracy", shown, re.MULTILINE)


def test_a_run_that_fails_leaves_the_others_their_result(experiment, tmp_path):
    # So large a step diverges at once.
    wild = ("--codec", "none,fp16", "--optimizer", "sgd:lr=1e6")
    shown, errors = finished(experiment(*wild), code=60)
    assert re.search(r"1/2  none, seed 0 failed: [a-z0-9-]+ failed with exit code \d+: ", shown)
    assert errors.startswith("slfac experiment: 2 of 2 runs failed, the first: none, seed 0: ")
    assert len(errors.splitlines()) == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert (len(result["failed"]), result["runs"], result["summary"]) == (2, [], [])


def test_a_link_takes_its_time_and_the_target_is_timed(experiment, tmp_path):
    link = ("--link", "2Mbit/4Mbit", "--devices", "1", "--rounds", "2", "--steps-per-round", "4")
    shown, _ = finished(experiment("--codec", "fp16", "--target", "1", *link))
    assert "Until 1 % accuracy at 2Mbit/4Mbit a device" in shown
    runs = json.loads((tmp_path / "result.json").read_text())["runs"]
    for run in runs:
        # A device has one step under way, so that its two directions take turns.
        least_s = run["payload_bytes_up"] * 8 / 2e6 + run["payload_bytes_down"] * 8 / 4e6
        assert least_s * 0.98 < run["seconds"] < least_s + 5
        assert run["seconds_to_target"] == run["by_round"][0]["seconds"]
        first = run["by_round"][0]
        assert run["bytes_to_target"] == first["bytes_up"] + first["bytes_down"]
    none, fp16 = runs
    assert none["seconds"] > fp16["seconds"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--codec", "fog"], 2, "codec 'fog': codec is 'fog'; give one of none, fp16"),
        (["--held-out", "999"], 10, "240 training samples, 1159 are wanted"),
        (["--plan", "nowhere.toml"], 2, "cannot read nowhere.toml"),
        (["--link", "fast"], 2, "setting link is 'fast'"),
        (["--model", "cnn", "--cut", "relu9"], 21, "relu9"),
    ],
)
def test_what_cannot_be_run_is_one_line(experiment, arguments, code, said):
    _, errors = finished(experiment(*arguments), code=code)
    assert errors.startswith("slfac experiment: ")
    assert said in errors
    assert len(errors.splitlines()) == 1
