"""slfac plan from end to end, and what it refuses."""

import json

import numpy as np
import pytest

from harness.plans import gemm, measured_board, phases, power, profile
from slfac.cli.main import main
from slfac.export import export_bundle
from slfac.hw_profiles import write_profile
from slfac.wire.manifest import Preprocessing

MODEL = ("--model", "cnn", "--input", "1x12x12", "--classes", "4", "--kwargs", '{"hidden": 8}')
CUTS = ("--cuts", "pool1,pool2")


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    path = tmp_path_factory.mktemp("boards") / "board.toml"
    write_profile(measured_board(), path)
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "set.npz"
    images = rng.integers(0, 255, (60, 1, 12, 12), dtype=np.uint8)
    labels = rng.integers(0, 4, 60)
    np.savez(path, x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])
    return str(path)


def plan(*arguments):
    return main(["plan", *arguments])


def where(board, link="wifi", data="100"):
    return ("--board", board, "--link", link, "--data", data, "--batch-size", "8")


def test_a_small_cnn_is_planned_from_end_to_end(board, tmp_path, capsys):
    options = ("--codec", "none,slfac,fp16", "--rounds", "3", "--server-ms", "2")
    out = tmp_path / "plan"
    code = plan(
        *MODEL, *CUTS, *where(board), *options, "--explain", "pool1", "slfac", "--out", str(out)
    )
    shown = capsys.readouterr().out
    assert code == 0
    assert {path.name for path in out.iterdir()} == {"plan.json", "plan.md", "plan.svg", "plan.png"}
    found = json.loads((out / "plan.json").read_text("utf-8"))
    assert found["synthetic"]
    assert "not your data" in shown
    rows = {(row["cut"], row["codec"].partition(":")[0]): row for row in found["candidates"]}
    assert set(rows) == {(c, k) for c in ("pool1", "pool2") for k in ("none", "fp16", "slfac")}
    # 12 x 12 pools to 16 maps of 6 x 6: without a codec its size is exact.
    plain = rows["pool1", "none"]
    assert plain["tensor_bytes"] == 8 * 16 * 36 * 4
    assert plain["step"]["down_bytes"]["low"] == plain["step"]["down_bytes"]["high"]
    assert 0 < plain["step"]["down_bytes"]["value"] - plain["tensor_bytes"] < 500
    assert rows["pool1", "slfac"]["step"]["up_bytes"]["tier"] == "spec"
    for row in rows.values():
        parts = row["phases"].values()
        total = sum(part["ms"]["value"] for part in parts)
        assert row["step"]["ms"]["value"] == pytest.approx(total, rel=1e-4)
        assert row["run"]["joules"]["value"] == pytest.approx(
            3 * row["round"]["joules"]["value"], rel=1e-4
        )
        # What is encoded depends on data that are not the user's.
        made_up = row["codec"].startswith("slfac")
        assert row["step"]["ms"]["tier"] == ("spec" if made_up else "calibrated")
    times = [row["round"]["ms"]["value"] for row in found["candidates"]]
    assert times == sorted(times)
    explained = shown.partition("where each figure of a step is from")[2]
    assert "forward: " in explained
    assert "a test" in explained
    assert "as --server-ms says" in explained
    assert b"<svg" in (out / "plan.svg").read_bytes()


def test_sizes_come_from_the_users_data_where_there_is_some(board, data, capsys):
    assert plan(*MODEL, *CUTS, *where(board, data=data), "--codec", "slfac", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["synthetic"]
    assert found["samples"] == 60
    for row in found["candidates"]:
        size = row["step"]["up_bytes"]
        assert size["tier"] == "measured"
        assert size["low"] < size["value"] < size["high"]
        assert "back half and codec, measured here" in found["sources"][row["server_ms"]["source"]]


def test_a_bundle_is_planned_as_its_model_is(board, tmp_path, capsys):
    bundle = tmp_path / "cut"
    export_bundle(
        model="cnn",
        kwargs={"hidden": 8},
        cut="pool1",
        input_shape=(1, 12, 12),
        num_classes=4,
        preprocessing=Preprocessing(),
        prove=False,
        out=bundle,
    )
    found = []
    options = (*where(board), "--codec", "slfac", "--server-ms", "2", "--json")
    for subject in (("--bundle", str(bundle)), (*MODEL, "--cuts", "pool1")):
        assert plan(*subject, *options) == 0
        shown = json.loads(capsys.readouterr().out)
        found.append((shown["candidates"], shown["sources"]))
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A profile with nothing that could be compared: a maker's claim, and another number format."""
    path = tmp_path_factory.mktemp("boards") / "bare.toml"
    claims = (gemm(100.0, "fp64", 4, "peak"), gemm(100.0, "fp32", 4))
    write_profile(profile("published", compute=claims, idle_w=power(2.0)), path)
    return str(path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--board", "pi-99"), "there is no profile 'pi-99'"),
        (("--link", "lora"), "--link is 'lora', which board does not have"),
        (("--codec", "none,zip"), "zip"),
        (("--cuts", "pool9"), "cut 'pool9' is not in the model"),
        (("--batch-size", "0"), "--batch-size is 0"),
        (("--batch-size", "101"), "--data has 100 samples, a batch has 101"),
        (("--data", "nowhere"), "nowhere"),
        (("--rounds", "0"), "--rounds is 0"),
        (("--threads", "65"), "--threads is 65"),
        (("--mode", "60W"), "has no mode '60W'"),
        (("--server-ms", "-1"), "--server-ms is -1"),
        (("--device", "cuda"), "cuda"),
        (("--threads", "2"), "no time can be predicted"),
        (("--model", "resnet999"), "resnet999"),
        (("--explain", "pool1"), "--explain has 1 words"),
        (("--explain", "pool9", "none"), "--explain names 'pool9'"),
        (("--bundle", "x"), "there is no model, or two"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_planned_is_refused_in_a_line(changed, said, board, capsys):
    assert plan(*MODEL, *CUTS, *where(board), "--codec", "none", *changed) != 0
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("slfac plan: ")
    assert said in error


def test_a_profile_without_computing_figures_says_what_to_run(bare, capsys):
    assert plan(*MODEL, *CUTS, *where(bare, "20mbit/5ms")) == 2
    error = capsys.readouterr().err
    assert "nothing to predict from: run `slfac profile run` on the board" in error


def test_a_board_without_a_meter_gives_times_and_no_joules(tmp_path, capsys):
    path = tmp_path / "board.toml"
    write_profile(measured_board(idle_w=None, active_w=None, phases=phases()), path)
    assert plan(*MODEL, *CUTS, *where(str(path)), "--codec", "none", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert all("unknown" in row["step"]["joules"] for row in found["candidates"])
    assert all(row["step"]["ms"]["value"] > 0 for row in found["candidates"])
    assert found["least"]["energy"]["best"] is None
    assert any("has no idle_w" in line for line in found["said"])


def test_a_folder_that_cannot_be_written_is_refused_first(board, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert plan(*MODEL, *where(board), "--out", str(tmp_path / "file" / "x")) == 2
    assert "--out is" in capsys.readouterr().err
