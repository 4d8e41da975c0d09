"""Fine-tuning of published models: their images, one real run, and what is refused."""

import json

import numpy as np
import pytest

from slfac.cli import main
from slfac.data.idx_folder import read_idx_split, write_idx_split
from slfac.testbed.finetune.images import render_text, resize_images


def test_grey_images_are_scaled_and_repeated_over_three_channels(tmp_path):
    ramp = np.tile(np.arange(0, 252, 9, dtype=np.uint8), (28, 1))
    images = np.stack([ramp, ramp.T, 255 - ramp])
    for split in ("train", "test"):
        write_idx_split(tmp_path / "in", split, images, np.arange(3, dtype=np.uint8))
    sizes = {"train": 2, "test": 5}
    assert resize_images(tmp_path / "in", tmp_path / "out", side=64, samples=sizes, seed=1) == (
        2,
        3,
    )
    scaled, labels = read_idx_split(tmp_path / "out", "test")
    assert scaled.shape == (3, 3, 64, 64)
    assert sorted(labels.tolist()) == [0, 1, 2]
    for image, label in zip(scaled, labels, strict=True):
        assert (image == image[0]).all()
        small = np.asarray(image[0], np.float64).reshape(4, 16, 4, 16).mean((1, 3))
        expected = images[label].astype(np.float64).reshape(4, 7, 4, 7).mean((1, 3))
        assert np.abs(small - expected).max() < 1


def test_words_are_drawn_both_ways_up_and_in_the_middle(tmp_path):
    render_text(tmp_path, shape=(3, 48, 192), samples={"train": 60, "test": 4}, seed=2)
    images, labels = read_idx_split(tmp_path, "train")
    assert images.shape == (60, 3, 48, 192)
    assert labels.sum() == 30
    # Where the ink is must not tell the classes apart.
    ink = np.abs(images[:, 0].astype(float) - np.median(images[:, 0], axis=(1, 2), keepdims=True))
    where = (ink > 40).mean(1) @ np.arange(192) / (ink > 40).mean(1).sum(1)
    assert abs(where[labels == 0].mean() - where[labels == 1].mean()) < 12


@pytest.mark.slow
@pytest.mark.timeout(400)  # an export and three processes
def test_a_model_that_exists_only_as_onnx_is_trained_by_a_device_and_a_server(tmp_path, capsys):
    out, result = tmp_path / "out", tmp_path / "text.json"
    command = ["experiment", "finetune", "--case", "text", "--train", "128", "--test", "40"]
    command += ["--rounds", "1", "--devices", "1", "--out", str(out), "--result", str(result)]
    code = main(command)
    assert code == 0
    assert "published" in capsys.readouterr().out
    (run,) = json.loads(result.read_text())["runs"]
    assert run["before"] > 0.6
    assert run["accuracy"] > 0.6
    assert run["accuracy_by_round"] == [run["accuracy"]]
    assert run["per_device"][0]["torch_imported"] is False
    manifest = json.loads((out / "bundles/text-published-seed0/manifest.json").read_text())
    assert manifest["back"]["factory"] == "slfac.export.onnx_model:build"
    lines = (out / "runs/text-published-seed0/metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "3"], "train is 3"),
        (["--rounds", "0"], "rounds is 0"),
        (["--case", "text", "--data", "x"], "leave out --data"),
    ],
)
def test_what_is_wrong_is_named(arguments, message, capsys, tmp_path):
    assert main(["experiment", "finetune", *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
