"""``slfac bench codec`` from a capture of real training to tables and a JSON file."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from slfac.cli import main
from slfac.codec import codec_names, make_codec
from slfac.data import BatchStream, read_idx_split
from slfac.testbed.bench.tensors import load_tensors


def run(*arguments):
    return main(["bench", "codec", *map(str, arguments)])


@pytest.fixture(scope="module")
def captured(tmp_path_factory, digits):
    path = tmp_path_factory.mktemp("capture") / "cnn.npz"
    options = ("--steps", "1,3", "--batch-size", 16, "--keep", 6, "--seed", 2)
    assert run("--capture", path, "--data", digits, *options) == 0
    return path


def test_a_capture_is_what_a_plain_training_loop_sees(captured, digits):
    from slfac.export.models import cnn

    torch.manual_seed(2)
    model = cnn(num_classes=10, input_shape=(1, 12, 12))
    seen = []

    def note(_module, _inputs, output):
        output.retain_grad()
        seen.append(output)

    model.pool1.register_forward_hook(note)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images, labels = (torch.from_numpy(array) for array in read_idx_split(digits, "train"))
    batches = BatchStream(len(labels), 16, 2, 0)
    losses = {}
    for step in (1, 2, 3):
        rows = batches.next()
        x = (images[rows][:, None].float() / 255 - 0.1307) / 0.3081
        loss = functional.cross_entropy(model(x), labels[rows].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[str(step)] = float(loss.detach())
    given = load_tensors(captured)
    (about,) = given.sources
    assert about["loss_by_step"] == pytest.approx({k: losses[k] for k in ("1", "3")}, rel=1e-4)
    assert (about["model"], about["cut"], about["seed"]) == ("cnn", "pool1", 2)
    wanted = {
        f"cnn-pool1-step{step}-{role}": tensor.detach().numpy()[:6]
        for step in (1, 3)
        for role, tensor in (("smashed", seen[step - 1]), ("gradient", seen[step - 1].grad))
    }
    assert [t.name for t in given.tensors] == list(wanted)
    for tensor in given.tensors:
        assert tensor.values.shape == (6, 16, 6, 6)
        peak = np.abs(wanted[tensor.name]).max()
        np.testing.assert_allclose(tensor.values, wanted[tensor.name], rtol=1e-4, atol=1e-5 * peak)
        # 16 significant bits: the last 8 of float32's are zero, the ones above are used.
        bits = tensor.values.view(np.uint32)
        assert not (bits & 0xFF).any()
        assert (bits & 0x100).any()


def test_measures_every_codec_on_what_was_captured(captured, tmp_path, capsys):
    result = tmp_path / "new" / "bench.json"
    assert run("--tensors", captured, "--repeat", 1, "--json", result) == 0
    said = capsys.readouterr().out
    written = json.loads(result.read_text())
    specs = [make_codec(name).spec for name in codec_names()]
    tensors = [tensor["name"] for tensor in written["tensors"]]
    assert len(tensors) == 4
    assert [(m["tensor"], m["codec"]) for m in written["measurements"]] == [
        (tensor, spec) for tensor in tensors for spec in specs
    ]
    for measured in written["measurements"]:
        numbers = [v for v in measured.values() if isinstance(v, float)]
        assert all(math.isfinite(v) for v in numbers)
        assert measured["exact"] == (measured["snr_db"] is None)
        assert (measured["over_entropy"] is None) == (not measured["codec"].startswith("slfac-rd"))
    assert written["sources"][0]["seed"] == 2
    assert written["threads"] == 1
    assert {"processor", "cores", "memory", "system"} <= written["machine"].keys()
    assert {"python", "slfac", "numpy", "scipy"} <= written["versions"].keys()
    for name in (*tensors, *codec_names()):
        assert name in said


def test_a_model_of_other_arguments_is_captured(digits, tmp_path):
    path = tmp_path / "cnn.npz"
    options = ("--steps", "1", "--batch-size", 4, "--kwargs", '{"channels": [4, 6]}')
    assert run("--capture", path, "--data", digits, "--cut", "relu2", *options) == 0
    given = load_tensors(path)
    assert [tensor.values.shape[1] for tensor in given.tensors] == [6, 6]
    assert given.sources[0]["kwargs"] == {"channels": [4, 6]}


def test_the_tables_fit_a_terminal_of_80_columns(captured):
    command = [sys.executable, "-m", "slfac.cli", "bench", "codec", "--repeat", "1"]
    command += ["--tensors", str(captured), "--codec", "none,slfac:theta=0.8,bmin=2,fp16"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "80", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    # What does not fit is cut off: the last heading of each of the four tables and the summary.
    assert done.stdout.count("memory") == 4 + 2
    # What is long goes on in the next line.
    first = "".join(line.split("  ")[0].strip() for line in done.stdout.splitlines())
    assert "slfac:theta=0.8,bmin=2,bmax=8,rule=b" in first


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--codec", "lzma"], 2, "codec is 'lzma'; give one of none, "),
        (["--codec", "fp16,fp16"], 2, "setting codecs is fp16,fp16; give each codec once"),
        (["--repeat", "0"], 2, "setting repeat is 0; "),
        (["--tensors", "nowhere.npz"], 10, "nowhere.npz cannot be read"),
        (["--model", "cnn"], 2, "--model needs --capture; "),
        (["--capture", "a.npz", "--codec", "none"], 2, "--codec does not go with --capture; "),
        (["--capture", "a.txt"], 2, "setting capture is a.txt; "),
        (["--capture", "a.npz", "--steps", "3,3"], 2, "setting steps is (3, 3); "),
        (["--capture", "a.npz", "--batch-size", "1"], 2, "setting batch_size is 1"),
        (["--capture", "a.npz", "--keep", "65"], 2, "keep is 65; "),
        (["--capture", "a.npz", "--kwargs", '{"num_classes": 3}'], 2, "kwargs holds 'num_classes'"),
        (["--capture", "a.npz", "--seed", "-1"], 2, "setting seed is -1; "),
        (["--capture", "a.npz", "--data", "nowhere"], 10, "nowhere has no train-images"),
    ],
)
def test_a_wrong_call_is_one_line_with_a_remedy(arguments, code, said, empty_folder, capsys):
    assert run(*arguments) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("slfac bench: ")
    assert said in line
    assert not list(empty_folder.iterdir())


def test_an_unknown_model_or_cut_is_an_export_error(digits, tmp_path, capsys):
    for option in (("--model", "vgg"), ("--cut", "pool9")):
        assert run("--capture", tmp_path / "a.npz", "--data", digits, *option) == 21
        (line,) = capsys.readouterr().err.splitlines()
        assert option[1] in line
