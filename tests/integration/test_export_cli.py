"""``slfac export`` as a user sees it: tables on stdout, errors in one line, exit codes."""

import pytest

from slfac.cli import main
from slfac.wire.bundle import open_bundle

SMALL = ["export", "--input", "1x8x8", "--classes", "3"]
TINY = ["--kwargs", '{"channels": [2, 2], "hidden": 4}']


def test_a_model_is_exported(tmp_path, capsys):
    out = tmp_path / "bundle"
    code = main([*SMALL, *TINY, "--cut", "pool1", "--out", str(out), "--mean", "0.5", "--std", "2"])
    assert code == 0
    said = capsys.readouterr()
    bundle = open_bundle(out)
    assert bundle.manifest.preprocessing.mean == (0.5,)
    assert bundle.manifest.preprocessing.scale == pytest.approx(1 / 255)
    rows = said.out.splitlines()
    assert all(row.endswith("ok") for row in rows[1:-1])
    assert rows[-1].startswith(f"{out} {bundle.id[:12]} (")
    assert "tracing" in said.err


def test_cuts_are_listed(capsys):
    assert main([*SMALL, "--list-cuts"]) == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()]
    assert ["pool1", "16x4x4", "1024", "160", "0.02", "0.02"] in [row[:6] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([*SMALL, "--cut", "pool1"], 2, "--out"),
        ([*SMALL, "--out", "x"], 2, "--cut"),
        (["export", "--input", "1x8xa", "--classes", "3", "--list-cuts"], 2, "'1x8xa'"),
        (["export", "--input", "1x8x999999", "--classes", "3", "--list-cuts"], 2, "65536"),
        ([*SMALL, "--kwargs", "{", "--list-cuts"], 2, "JSON"),
        ([*SMALL, "--kwargs", "[" * 100_000, "--list-cuts"], 2, "JSON"),
        ([*SMALL, "--kwargs", "[]", "--list-cuts"], 2, "'[]'"),
        ([*SMALL, "--kwargs", '{"num_classes": 2}', "--list-cuts"], 2, "--classes"),
        ([*SMALL, "--cut", "pool1", "--out", "x", "--mean", "a"], 2, "--mean"),
        ([*SMALL, "--cut", "pool1", "--out", "x", "--std", "0"], 21, "above zero"),
        ([*SMALL, "--cut", "pool1", "--out", "x", "--scale", "nan"], 21, "finite"),
        ([*SMALL, "--cut", "pol1", "--out", "x"], 21, "pool1"),
        ([*SMALL, "--model", "vgg", "--list-cuts"], 21, "vgg11"),
        (["export", "--input", "8x8", "--classes", "3", "--list-cuts"], 21, "input_shape"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, code, message, capsys):
    assert main(arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert lines[-1].startswith("slfac export: ")


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["export", "--help"])
    assert caught.value.code == 0
    assert "slfac export --model cnn --cut pool1" in capsys.readouterr().out
