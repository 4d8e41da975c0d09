"""``slfac bench overlap`` from runs to a table and a JSON file."""

import json

import pytest

from slfac.cli import main


def run(*arguments):
    return main(["bench", "overlap", *map(str, arguments)])


def test_measures_parts_and_blocks_over_a_link(tmp_path, capsys):
    path = tmp_path / "new" / "overlap.json"
    few = ("--parts", 2, "--blocks", 3, "--batch-size", 6, "--steps", 6, "--delay-ms", 5)
    assert run("--link", "8Mbit", *few, "--json", path) == 0
    said = capsys.readouterr().out
    assert "codec slfac" in said
    assert "3 blocks" in said
    written = json.loads(path.read_text())
    whole, parts, blocks = written["measurements"]
    assert [(m["micro_batches"], m["stream_blocks"]) for m in written["measurements"]] == [
        (1, 1), (2, 1), (1, 3),
    ]  # fmt: skip
    stages = [whole[f"{name}_ms"] for name in ("front", "up", "server", "down")]
    # There and back, 5 ms each, are part of what a step may take.
    assert whole["bound_ms"] - sum(stages) >= 9.9
    busiest = max(stages)
    rtt_ms = whole["bound_ms"] - sum(stages)
    assert parts["bound_ms"] == pytest.approx(
        busiest + (sum(stages) - busiest) / 2 + rtt_ms, rel=1e-3
    )
    for m in (whole, parts, blocks):
        assert m["step_ms"] >= 0.95 * (m["front_ms"] + m["wait_ms"])
        assert m["gain"] == pytest.approx(whole["step_ms"] / m["step_ms"], rel=1e-3)
        # The same values, in payloads of their own.
        assert m["up_ms"] == pytest.approx(whole["up_ms"], rel=0.1)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--link", "fast", "setting link is 'fast'"),
        ("--parts", 17, "parts holds 17"),
        ("--blocks", 1, "blocks holds 1"),
        ("--steps", 5, "steps is 5"),
        ("--delay-ms", -1, "delay_ms is -1"),
    ],
)
def test_a_wrong_setting_is_named(option, value, message, capsys):
    assert run(option, value) == 2
    assert message in capsys.readouterr().err
