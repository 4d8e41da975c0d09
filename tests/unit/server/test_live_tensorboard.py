import sys

import pytest

from harness.live import energy_event, event, make_older, read_board, round_event, step_event
from slfac.server.live.tensorboard import TensorBoard, check_tensorboard
from slfac.wire.errors import MissingExtraError, SettingsError


def write(folder, events, **before):
    board = TensorBoard(folder, **before)
    for one in events:
        board.take(one)
    board.close()


def test_rounds_and_steps_are_written(tmp_path):
    steps = [step_event(name, step=n, loss=n + 0.5) for n in range(3) for name in ("a", "b")]
    write(tmp_path, [event("weather"), *steps, round_event(0), round_event(1)])
    by_round = read_board(tmp_path / "rounds")
    assert by_round["round/accuracy"] == [(0, 0.5), (1, pytest.approx(0.6))]
    assert by_round["bytes/bytes_up"] == [(0, 10_000), (1, 20_000)]
    by_step = read_board(tmp_path / "steps")
    assert by_step["loss/a"] == [(0, 0.5), (2, 1.5), (4, 2.5)]
    assert by_step["loss/b"] == [(1, 0.5), (3, 1.5), (5, 2.5)]
    assert by_step["device_ms/a/backward"][0] == (0, 3.0)
    assert by_step["step_ms/a"][0] == (0, 25.0)
    assert by_step["server_ms/b/train"][0] == (1, 2.0)
    assert not by_step.keys() & by_round.keys()


def test_joules_are_written_by_round_and_by_what_they_are_of(tmp_path):
    energies = [
        energy_event("a"),
        energy_event("b", round_=1, joules=None),
        energy_event("a", round_=None, joules=3.0),
    ]
    sums = {"module": {"joules": 100.0, "devices": 1}, "wall": {"joules": 9.0, "devices": 1}}
    write(tmp_path, [*energies, round_event(0, energy=sums), round_event(1, energy={})])
    by_round = read_board(tmp_path / "rounds")
    assert by_round["joules/a"] == [(0, 100.0)]
    assert "joules/b" not in by_round
    assert by_round["round/joules_module"] == [(0, 100.0)]
    assert by_round["round/joules_wall"] == [(0, 9.0)]


def test_what_is_not_known_is_not_written(tmp_path):
    write(tmp_path, [step_event("a", loss=None, phase_ms=None), round_event(0, accuracy=None)])
    assert "loss/a" not in read_board(tmp_path / "steps")
    assert "round/accuracy" not in read_board(tmp_path / "rounds")
    assert "round/loss" in read_board(tmp_path / "rounds")


def test_steps_made_again_after_a_restart_are_not_doubled(tmp_path):
    first = [step_event("a", step=n, loss=1.0) for n in range(10)]
    write(tmp_path, [*first[:6], round_event(0), *first[6:], round_event(1, accuracy=0.1)])
    make_older(tmp_path)
    # The checkpoint was behind the first round; the rest is made again.
    again = [step_event("a", step=n, loss=2.0) for n in range(6)]
    write(tmp_path, [*again, round_event(1, accuracy=0.9)], goes_on=True, rounds=1, steps=6)
    steps = read_board(tmp_path / "steps")["loss/a"]
    assert steps == [*((n, 1.0) for n in range(6)), *((n, 2.0) for n in range(6, 12))]
    assert read_board(tmp_path / "rounds")["round/accuracy"] == [(0, 0.5), (1, pytest.approx(0.9))]


def test_a_restart_before_any_round_voids_all(tmp_path):
    write(tmp_path, [step_event("a", step=n) for n in range(4)])
    make_older(tmp_path)
    write(tmp_path, [step_event("a", step=n) for n in range(2)], goes_on=True)
    assert [step for step, _ in read_board(tmp_path / "steps")["loss/a"]] == [0, 1]


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"slfac\[tensorboard\]"):
        check_tensorboard()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="setting tensorboard: cannot write"):
        TensorBoard(tmp_path / "file")
