"""Replies that are answered again: found whole and as they were, or not at all."""

import errno

import msgspec
import numpy as np
import pytest

from harness.offline import collect
from slfac.server.kept import FOLDER, KeptReplies, Place
from slfac.wire.errors import BundleError, TrainingError
from slfac.wire.messages import Reply
from slfac.wire.transfer import Part, cut_transfer


def reply(step, payload, *, session=5, seq=6):
    header = Reply(
        session=session,
        seq=seq,
        kind="step",
        round=3,
        directive="train",
        loss=step / 7,
        decode_ms=1.0,
        train_ms=2.0,
        encode_ms=3.0,
        sections=(),
    )
    return cut_transfer(header, [Part("gradient", "smashed", payload, "none")])


def payload(step, n_bytes=1000):
    return np.random.default_rng(step).bytes(n_bytes)


def keep(kept, index, round_, *steps):
    for step in steps:
        kept.keep(index, round_, step, reply(step, payload(step)))


def body(frames):
    assert frames is not None
    return bytes(collect(frames).part("gradient", "smashed")[1])


def files(folder):
    return sorted(path.name for path in (folder / FOLDER).glob("*"))


@pytest.mark.parametrize("n_bytes", [0, 10, 3_000_000])
def test_a_reply_is_found_with_its_payload_and_addressed_anew(tmp_path, n_bytes):
    kept = KeptReplies(tmp_path)
    first = reply(4, payload(4, n_bytes))
    kept.keep(1, 3, 4, first)
    keep(kept, 1, 3, 5)
    found = kept.find(1, 3, 4, session=90, seq=91)
    again = collect(found)
    assert (again.header.session, again.header.seq) == (90, 91)
    same = msgspec.structs.replace(again.header, session=5, seq=6)
    assert same == collect(first).header
    assert body(found) == payload(4, n_bytes)
    assert body(kept.find(1, 3, 5, session=90, seq=92)) == payload(5)


def test_nothing_is_found_for_another_device_round_or_step(tmp_path):
    kept = KeptReplies(tmp_path)
    keep(kept, 1, 3, 4)
    for index, round_, step in [(0, 3, 4), (1, 2, 4), (1, 3, 5)]:
        assert kept.find(index, round_, step, session=1, seq=1) is None
    assert kept.has(1, 3)
    assert not kept.has(1, 2)
    assert kept.begun(3)
    assert not kept.begun(4)


def test_each_part_of_a_step_has_its_own_reply_also_from_a_checkpoint(tmp_path):
    kept = KeptReplies(tmp_path)
    for part in range(3):
        kept.keep(0, 3, 4, reply(4, payload(part)), part=part)
    keep(kept, 0, 3, 5)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    stored = msgspec.json.encode(kept.seal(3, folder))
    other = KeptReplies(tmp_path / "other")
    other.adopt(folder, msgspec.json.decode(stored, type=dict[str, list[Place]]))
    for one in (kept, other):
        for part in range(3):
            assert body(one.find(0, 3, 4, session=1, seq=1, part=part)) == payload(part)
        assert one.find(0, 3, 5, session=1, seq=1, part=1) is None
        assert body(one.find(0, 3, 5, session=1, seq=1)) == payload(5)


def test_what_a_device_has_taken_down_is_dropped_with_its_file(tmp_path):
    kept = KeptReplies(tmp_path)
    for index in (0, 1):
        keep(kept, index, 3, 0, 1)
        keep(kept, index, 4, 2)
    kept.confirm(1, 4)
    assert not kept.has(1, 3)
    assert files(tmp_path) == ["d0000-r000003.bin", "d0000-r000004.bin", "d0001-r000004.bin"]
    assert body(kept.find(1, 4, 2, session=1, seq=1)) == payload(2)
    assert body(kept.find(0, 3, 1, session=1, seq=1)) == payload(1)


def test_a_device_that_is_forgotten_leaves_nothing_and_may_begin_again(tmp_path):
    kept = KeptReplies(tmp_path)
    keep(kept, 0, 3, 0, 1)
    keep(kept, 1, 3, 0)
    kept.forget(0)
    assert files(tmp_path) == ["d0001-r000003.bin"]
    assert not kept.has(0, 3)
    keep(kept, 0, 3, 1)
    assert kept.find(0, 3, 0, session=1, seq=1) is None
    assert body(kept.find(0, 3, 1, session=1, seq=1)) == payload(1)


def test_the_end_of_a_run_leaves_what_is_not_its_own(tmp_path):
    kept = KeptReplies(tmp_path)
    keep(kept, 0, 3, 0)
    (tmp_path / FOLDER / "thesis.txt").write_text("of someone who works in this folder")
    kept.clear()
    assert files(tmp_path) == ["thesis.txt"]
    assert not kept.has(0, 3)
    (tmp_path / FOLDER / "thesis.txt").unlink()
    keep(kept, 0, 3, 0)
    kept.clear()
    assert not (tmp_path / FOLDER).exists()


def sealed(tmp_path, round_=3):
    kept = KeptReplies(tmp_path / "run")
    keep(kept, 0, 2, 0)
    keep(kept, 0, 3, 1, 2)
    keep(kept, 1, 3, 7)
    folder = tmp_path / "sealed"
    folder.mkdir()
    given = msgspec.json.encode(kept.seal(round_, folder))
    return kept, folder, msgspec.json.decode(given, type=dict[str, list[Place]])


def test_a_sealed_round_is_adopted_and_nothing_else(tmp_path):
    _, folder, given = sealed(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(given)
    other = KeptReplies(tmp_path / "other")
    keep(other, 5, 9, 0)
    other = KeptReplies(tmp_path / "other")
    other.adopt(folder, given)
    assert files(tmp_path / "other") == sorted(given)
    for index, step in [(0, 1), (0, 2), (1, 7)]:
        assert body(other.find(index, 3, step, session=1, seq=1)) == payload(step)
    assert not other.has(0, 2)
    # It goes on where the file ends.
    keep(other, 0, 3, 8)
    assert body(other.find(0, 3, 8, session=1, seq=1)) == payload(8)
    assert body(other.find(0, 3, 1, session=1, seq=1)) == payload(1)


def test_what_is_sealed_outlives_what_the_run_does_next(tmp_path):
    kept, folder, given = sealed(tmp_path)
    kept.forget(0)
    keep(kept, 0, 3, 3)
    kept.clear()
    other = KeptReplies(tmp_path / "other")
    other.adopt(folder, given)
    assert body(other.find(0, 3, 2, session=1, seq=1)) == payload(2)


def test_where_files_cannot_be_linked_they_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr("os.link", refuse)
    _, folder, given = sealed(tmp_path)
    other = KeptReplies(tmp_path / "other")
    other.adopt(folder, given)
    assert body(other.find(1, 3, 7, session=1, seq=1)) == payload(7)


def test_a_file_that_changed_is_refused(tmp_path):
    kept = KeptReplies(tmp_path)
    keep(kept, 0, 3, 0, 1)
    path = tmp_path / FOLDER / "d0000-r000003.bin"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert body(kept.find(0, 3, 0, session=1, seq=1)) == payload(0)
    with pytest.raises(TrainingError, match=r"d0000-r000003\.bin is damaged"):
        kept.find(0, 3, 1, session=1, seq=1)
    path.write_bytes(data[:-1])
    with pytest.raises(TrainingError, match="is cut short"):
        kept.find(0, 3, 1, session=1, seq=1)


@pytest.mark.parametrize(
    ("hurt", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"d0001-r000003\.bin is cut short"),
        (lambda path: path.write_bytes(b"x" * 9999), r"d0001-r000003\.bin is damaged"),
        (lambda path: path.unlink(), r"cannot read .*d0001-r000003\.bin: No such file"),
    ],
)
def test_a_sealed_file_that_is_damaged_or_gone_is_refused(tmp_path, hurt, words):
    _, folder, given = sealed(tmp_path)
    hurt(folder / "d0001-r000003.bin")
    with pytest.raises(BundleError, match=words):
        KeptReplies(tmp_path / "other").adopt(folder, given)


def test_a_disk_that_fails_is_said(tmp_path):
    kept = KeptReplies(tmp_path)
    keep(kept, 0, 3, 0)
    (tmp_path / FOLDER / "d0000-r000003.bin").unlink()
    with pytest.raises(TrainingError, match=r"cannot read .*d0000-r000003\.bin: No such file"):
        kept.find(0, 3, 0, session=1, seq=1)
    with pytest.raises(TrainingError, match=r"cannot write .*d0000-r000003\.bin: No such file"):
        keep(kept, 0, 3, 1)
    (tmp_path / "other").write_text("in the way")
    with pytest.raises(TrainingError, match=r"cannot write .*free some space"):
        keep(KeptReplies(tmp_path / "other"), 0, 3, 0)
