"""A run that goes on from its newest whole checkpoint as if it had never stopped."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.offline import KEPT, kept_bundle, variant
from slfac.cli.main import main
from slfac.server import Server, server_settings
from slfac.server.back import BackHalf, Batch
from slfac.server.checkpoint import write_checkpoint
from slfac.server.evaluate import Score
from slfac.server.kept import KeptReplies
from slfac.server.ledger import DeviceTotals
from slfac.server.metrics import METRICS_NAME, Metrics
from slfac.server.modes.parallel import Parallel
from slfac.server.result import RoundResult
from slfac.server.resume import Standing, newest_checkpoint
from slfac.server.scores import ClassScores
from slfac.wire.errors import BundleError, KeyFileError, SettingsError, TrainingError
from slfac.wire.keys import AllowList, new_keys
from slfac.wire.meter import Traffic

ALLOW = ("slfac.export.models",)
SGD = "sgd:lr=0.1,momentum=0.9"


def settings(out, **changes):
    values = {
        "bundle": KEPT,
        "out": out,
        "bind": "tcp://127.0.0.1:*",
        "insecure": True,
        "devices": ("a", "b"),
        "rounds": 9,
        "optimizer": SGD,
        "torch_device": "cpu",
    }
    return server_settings(**{**values, **changes})


def result(number):
    classes = ClassScores(0.25, (0.5, None), ((1, 2), (0, 3)))
    score = Score(loss=0.5, accuracy=1 / 3, samples=12, classes=classes) if number else None
    return RoundResult(number, 0.1 * number, score, 1.5, 1, 2, 3, 4, 2)


def standing(out, finished, **changes):
    traffic = Traffic()
    traffic.up.add(10, 20, curve=True)
    values = {
        "run": "run-1",
        "bundle": kept_bundle().id,
        "settings": settings(out).stored(),
        "names": ("a", "b"),
        "members": (0, 1),
        "rounds": tuple(result(number) for number in range(finished)),
        "totals": {"a": DeviceTotals(steps=5), "b": DeviceTotals()},
        "traffic": {"a": traffic, "b": Traffic()},
        "codecs": {"0/0": {"step": 0.1}},
        "best": {"best_round": None},
        "metrics_bytes": 100,
    }
    return Standing(**{**values, **changes})


def write(out, finished, back=None, **changes):
    kept = KeptReplies(out)
    for index in (0, 1):
        kept.keep(index, finished - 1, 0, ((b"head", b"reply %d" % index),))
    return write_checkpoint(
        out,
        finished_rounds=finished,
        front=kept_bundle().front_state(),
        mode=Parallel(back or BackHalf(kept_bundle(), SGD, ALLOW)),
        kept=kept,
        facts=standing(out, finished, **changes).as_json(),
    )


def test_a_standing_comes_back_as_it_was(tmp_path):
    write(tmp_path, 1)
    path = write(tmp_path, 2)
    found = newest_checkpoint(tmp_path)
    assert found.path == path
    assert found.standing == standing(tmp_path, 2)
    front = found.front(kept_bundle())
    for name, array in kept_bundle().front_state().items():
        np.testing.assert_array_equal(front[name], array)
    kept = KeptReplies(tmp_path / "other")
    found.restore_kept(kept)
    assert [kept.has(index, 1) for index in range(3)] == [True, True, False]


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def alter(path):
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


FILES = [
    "front.safetensors",
    "back.safetensors",
    "optimizer.safetensors",
    "kept.json",
    "d0000-r000001.bin",
    "d0001-r000001.bin",
    "state.json",
]


@pytest.mark.parametrize("hurt", [cut, alter, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken(tmp_path, name, hurt, caplog):
    before = write(tmp_path, 1)
    newest = write(tmp_path, 2)
    assert sorted(path.name for path in newest.iterdir()) == sorted(FILES)
    hurt(newest / name)
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(tmp_path).path == before
    (said,) = caplog.messages
    assert said.startswith(f"checkpoint {newest} cannot be used: ")
    if name != "state.json":
        assert name in said


@pytest.mark.parametrize(
    "text",
    ["", "not JSON", "[]", "{}", "3", '{"files": []}', '{"files": {"kept.json": 1}}', "\xff"],
)
def test_a_state_that_is_none_is_passed_over(tmp_path, text, caplog):
    before = write(tmp_path, 1)
    (write(tmp_path, 2) / "state.json").write_text(text, encoding="latin-1")
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(tmp_path).path == before
    assert "round-000002 cannot be used" in caplog.text


@pytest.mark.parametrize("field", [*Standing.__dataclass_fields__, "optimizer", "files"])
def test_a_state_that_lacks_a_field_is_passed_over(tmp_path, field, caplog):
    before = write(tmp_path, 1)
    path = write(tmp_path, 2) / "state.json"
    state = json.loads(path.read_text())
    # As in a checkpoint of a release that wrote neither.
    del state[field], state["sha256"]
    path.write_text(json.dumps(state))
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(tmp_path).path == before
    assert re.search(f"round-000002 cannot be used: .*[`']{field}[`']", caplog.text)


def test_no_bad_byte_in_a_state_gets_through(tmp_path):
    before = write(tmp_path, 1)
    newest = write(tmp_path, 2)
    wanted = newest_checkpoint(tmp_path)
    path = newest / "state.json"
    data = path.read_bytes()
    for position in range(0, len(data), 29):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        found = newest_checkpoint(tmp_path)
        # A bit of the hash's own name, or of the spaces between, changes nothing that counts.
        assert found.path == before or found == wanted
    text = data.decode()
    assert '"steps": 5' in text
    path.write_text(text.replace('"steps": 5', '"steps": 7'))
    assert newest_checkpoint(tmp_path).path == before


def test_a_checkpoint_of_a_release_without_a_sum_of_its_state_is_taken(tmp_path, caplog):
    path = write(tmp_path, 2)
    state = json.loads((path / "state.json").read_text())
    del state["sha256"]
    (path / "state.json").write_text(json.dumps(state))
    with caplog.at_level(logging.INFO):
        assert newest_checkpoint(tmp_path).standing == standing(tmp_path, 2)
    assert caplog.messages == []


def test_a_checkpoint_is_read_and_checked_once(tmp_path, caplog):
    # Reading settings says nothing about a damaged front, so it has not looked at it.
    write(tmp_path, 1)
    newest = write(tmp_path, 2)
    cut(newest / "front.safetensors")
    with caplog.at_level(logging.WARNING):
        given = server_settings(resume=True, out=tmp_path)
        assert caplog.messages == []
        Server(given).__exit__(None, None, None)
    assert [line for line in caplog.messages if "cannot be used" in line] == caplog.messages
    assert len(caplog.messages) == 1


def keyed(tmp_path, *enrolled):
    """A run of a and b with keys, of whom only these are still enrolled."""
    server = new_keys(tmp_path / "keys", "server")
    allowed = AllowList(tmp_path / "keys")
    for name in ("a", "b"):
        allowed.enroll(name, new_keys(tmp_path / name, "device", server))
    out = tmp_path / "out"
    own = settings(out, keys=tmp_path / "keys", insecure=False, idle_timeout_s=0.1)
    write(out, 2, settings=own.stored(), codecs={})
    for name in {"a", "b"} - {*enrolled}:
        allowed.revoke(name)
    return out


def go_on(out):
    """What a server says when it goes on with a run to which nobody comes."""
    told = []
    lost = pytest.raises(TrainingError, match="all devices were lost")
    with Server(server_settings(resume=True, out=out), told.append) as going, lost:
        going.run()
    return told


def test_a_run_goes_on_without_a_device_that_was_revoked_since(tmp_path):
    restarted, *rest = go_on(keyed(tmp_path, "a"))
    assert restarted["event"] == "restarted"
    assert (restarted["revoked"], restarted["missing"]) == (["b"], ["a"])
    assert (restarted["wait_s"], restarted["ended"]) == (0.1, False)
    assert [event["device"] for event in rest if event["event"] == "left"] == ["a"]


def test_a_run_whose_devices_were_all_revoked_is_refused(tmp_path):
    with pytest.raises(KeyFileError, match="none of the run's devices is enrolled any more: a, b"):
        go_on(keyed(tmp_path))


def test_the_command_says_for_whom_it_waits_and_who_has_to_be_started_again(tmp_path, capsys):
    out = keyed(tmp_path, "a")
    (out / METRICS_NAME).write_text('{"event": "end"}\n')
    assert main(["server", "--resume", str(out), "--rounds", "9"]) == TrainingError.exit_code
    said = capsys.readouterr().err
    assert (
        "goes on after 2 of 9 rounds, waiting up to 0.1 s for a; the run had ended, so start its "
        "devices again; without b, not enrolled any more\n"
    ) in said


def test_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match=r"setting resume is .*which holds no checkpoint"):
        newest_checkpoint(tmp_path)
    cut(write(tmp_path, 1) / "front.safetensors")
    with pytest.raises(SettingsError, match="holds only damaged checkpoints; start a new run"):
        newest_checkpoint(tmp_path)


def test_what_a_killed_server_left_half_written_is_cleared_away(tmp_path):
    rest = tmp_path / "checkpoint" / ".round-abc"
    rest.mkdir(parents=True)
    (rest / "front.safetensors").write_bytes(b"half")
    path = write(tmp_path, 1)
    assert [entry.name for entry in path.parent.iterdir()] == ["round-000001"]
    assert newest_checkpoint(tmp_path).path == path


def batches(seed, steps):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        smashed = torch.from_numpy(rng.normal(size=(5, 4, 4, 4)).astype(np.float32))
        yield Batch((smashed,), rng.integers(0, 4, 5))


@pytest.mark.parametrize("spec", ["sgd:lr=0.1", SGD, "adam:lr=0.01", "adamw:lr=0.01"])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_restored_back_half_goes_on_bit_for_bit(tmp_path, spec, steps):
    torch.manual_seed(4)
    back = BackHalf(kept_bundle(), spec, ALLOW)
    for batch in batches(0, steps):
        back.step([batch])
    write(tmp_path, 1, back)
    drawn = torch.rand(3)
    for batch in batches(1, 3):
        back.step([batch])

    torch.manual_seed(99)
    other = BackHalf(kept_bundle(), spec, ALLOW)
    newest_checkpoint(tmp_path).restore_back(other)
    assert torch.equal(torch.rand(3), drawn)
    for batch in batches(1, 3):
        other.step([batch])
    for name, tensor in back.module.state_dict().items():
        assert torch.equal(tensor, other.module.state_dict()[name]), name


def test_a_back_half_that_changed_is_refused(tmp_path):
    write(tmp_path, 1)
    other = BackHalf(kept_bundle(), SGD, ALLOW)
    other.module.extra = torch.nn.Linear(2, 2)
    with pytest.raises(BundleError, match=r"does not fit its back half: .*extra"):
        newest_checkpoint(tmp_path).restore_back(other)


def test_a_run_goes_on_with_the_settings_it_had(tmp_path):
    stored = settings(tmp_path, seed=7, codec_up="fp16", batch_size=9)
    write(tmp_path, 1, settings=stored.stored())
    assert server_settings(resume=True, out=tmp_path) == stored.model_copy(update={"resume": True})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bind", "tcp://127.0.0.1:7777"),
        ("rounds", 12),
        ("rounds", 1),
        ("grace_s", 99.0),
        ("idle_timeout_s", 99.0),
        ("join_timeout_s", 99.0),
        ("step_timeout_s", 99.0),
        ("threads", 2),
        ("page", "8080"),
        ("prometheus", "0.0.0.0:9464"),
        ("tensorboard", True),
        ("seed", 0),
        ("devices", ("a", "b")),
    ],
)
def test_what_does_not_bear_on_the_weights_may_be_another(tmp_path, name, value):
    write(tmp_path, 1)
    changed = server_settings(resume=True, out=tmp_path, **{name: value})
    assert getattr(changed, name) == value
    same = settings(tmp_path, resume=True)
    assert changed.model_copy(update={name: getattr(same, name)}) == same


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("seed", 5, 0),
        ("batch_size", 16, 32),
        ("steps_per_round", 3, 0),
        ("optimizer", "adam", SGD),
        ("device_optimizer", "adam", ""),
        ("codec_up", "none", "slfac"),
        ("codec_down", "none", "slfac"),
        ("partition", "iid", "own"),
        ("devices", ("a",), ["a", "b"]),
    ],
)
def test_what_bears_on_the_weights_stays(tmp_path, name, value, kept):
    write(tmp_path, 1)
    with pytest.raises(SettingsError) as refused:
        server_settings(resume=True, out=tmp_path, **{name: value})
    assert refused.value.what == (
        f"setting {name} is {value!r}, and the run in {tmp_path} has {kept!r}"
    )


def test_fewer_rounds_than_are_finished_are_refused(tmp_path):
    write(tmp_path, 3)
    with pytest.raises(SettingsError, match=r"setting rounds is 2, and the run in .* finished 3"):
        server_settings(resume=True, out=tmp_path, rounds=2)
    assert server_settings(resume=True, out=tmp_path, rounds=3).rounds == 3


def test_a_run_that_is_over_keeps_its_metrics_unless_it_is_to_go_on(tmp_path):
    write(tmp_path, 9)
    metrics = Metrics(tmp_path)
    metrics.write("round", round=8)
    # Killed here, a server still has to send the last front to who missed it.
    assert server_settings(resume=True, out=tmp_path).rounds == 9
    metrics.write("end", run="run-1")
    metrics.close()
    with pytest.raises(SettingsError, match=r"is over after 9 rounds; --rounds 10 would go on"):
        server_settings(resume=True, out=tmp_path)
    with pytest.raises(SettingsError, match="is over after 9 rounds"):
        server_settings(resume=True, out=tmp_path, rounds=9)
    assert server_settings(resume=True, out=tmp_path, rounds=10).rounds == 10


@pytest.mark.parametrize("text", ["", "\n", "{}", "[]", "3", '{"event": "en', "\xff"])
def test_metrics_without_an_end_say_of_no_run_that_it_is_over(tmp_path, text):
    write(tmp_path, 9)
    (tmp_path / METRICS_NAME).write_text(text, encoding="latin-1")
    assert server_settings(resume=True, out=tmp_path).rounds == 9


def test_another_bundle_is_refused(tmp_path):
    out = tmp_path / "out"
    write(out, 1)
    other = variant(tmp_path / "other", model="another")
    with pytest.raises(SettingsError, match=rf"bundle {other.id[:12]}, and the run in"):
        Server(server_settings(resume=True, out=out, bundle=tmp_path / "other"))


def test_metrics_go_on_where_the_checkpoint_was_written(tmp_path):
    with_rest = Metrics(tmp_path)
    with_rest.write("round", round=0)
    kept_bytes = with_rest.mark()
    before = (tmp_path / METRICS_NAME).read_bytes()
    assert kept_bytes == len(before)
    with_rest.write("step", step=1)
    with_rest.close()
    with (tmp_path / METRICS_NAME).open("a") as file:
        file.write('{"event": "cut sho')
    metrics = Metrics(tmp_path, keep_bytes=kept_bytes)
    metrics.write("restarted")
    metrics.close()
    whole = (tmp_path / METRICS_NAME).read_bytes()
    assert whole.startswith(before)
    assert [json.loads(line)["event"] for line in whole.splitlines()] == ["round", "restarted"]


def test_metrics_that_are_gone_begin_anew(tmp_path):
    Metrics(tmp_path, keep_bytes=1000).close()
    assert (tmp_path / METRICS_NAME).read_bytes() == b""


def test_a_folder_in_which_a_server_is_at_work_is_left_alone(tmp_path):
    write(tmp_path, 1)
    working = Metrics(tmp_path)
    working.write("step", n=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SettingsError, match="in which a server is at work; stop that one first"):
        Server(server_settings(resume=True, out=tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    working.close()
    with Server(server_settings(resume=True, out=tmp_path)):
        pass
