"""What a killed device finds of itself: whole, of this run, or nothing."""

import logging
import os

import msgspec
import numpy as np
import pytest

from slfac.device.journal import Entry, Journal, Place
from slfac.wire.errors import ProtocolError

pytestmark = pytest.mark.device

BUNDLE, OPTIMIZER = "b" * 64, "sgd:lr=0.1,momentum=0.9"


def journal(folder, run="run-1", device="d0", bundle=BUNDLE, optimizer=OPTIMIZER):
    return Journal(folder, run, device, bundle, optimizer)


def entry(round_, bundle=BUNDLE, optimizer=OPTIMIZER):
    place = Place(
        bundle=bundle,
        optimizer=optimizer,
        round=round_,
        step=10 * round_,
        data={"epoch": round_, "position": 3},
        codecs=[{"step": 0.1 + round_, "trail": [1.0, 2.5]}, {}],
    )
    rng = np.random.default_rng(round_)
    front = {"conv.weight": rng.normal(size=(4, 3)).astype(np.float32), "n": np.array(round_)}
    return Entry(place, front, {"step": np.array(7), "momentum/conv.weight": np.ones((4, 3))})


def same(found, wanted):
    assert found is not None
    assert found.place == wanted.place
    for given, expected in [(found.front, wanted.front), (found.optimizer, wanted.optimizer)]:
        assert given.keys() == expected.keys()
        for name, array in expected.items():
            assert (given[name].shape, given[name].dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(given[name], array)
    return True


def files(folder, run="run-1", device="d0"):
    return sorted(path.name for path in (folder / device / run).iterdir())


def path_of(folder, round_):
    return folder / "d0" / "run-1" / f"round-{round_:06d}.safetensors"


def test_an_entry_comes_back_as_it_was_and_another_process_finds_it(tmp_path):
    assert journal(tmp_path).read() is None
    journal(tmp_path).write(entry(3))
    assert same(journal(tmp_path).read(), entry(3))


def test_the_two_newest_are_kept_and_each_can_be_asked_for(tmp_path):
    own = journal(tmp_path)
    for round_ in range(1, 5):
        own.write(entry(round_))
    assert files(tmp_path) == ["round-000003.safetensors", "round-000004.safetensors"]
    assert same(own.read(), entry(4))
    assert same(own.read(3), entry(3))
    assert own.read(2) is None


def test_entries_of_later_rounds_go_when_the_server_went_back(tmp_path):
    own = journal(tmp_path)
    for round_ in (6, 7, 3):
        own.write(entry(round_))
    assert files(tmp_path) == ["round-000003.safetensors"]
    assert same(own.read(), entry(3))


def test_a_write_that_was_cut_short_leaves_the_entries_before_it(tmp_path):
    own = journal(tmp_path)
    own.write(entry(1))
    (tmp_path / "d0/run-1/fresh").write_bytes(path_of(tmp_path, 1).read_bytes()[:50])
    assert same(own.read(), entry(1))
    own.write(entry(2))
    assert same(own.read(), entry(2))


@pytest.mark.parametrize(
    "hurt",
    [
        lambda data: data[:0],
        lambda data: data[:7],
        lambda data: data[:-1],
        lambda data: b"\xff" * len(data),
        lambda data: data.replace(b"slfac", b"slfax"),
        lambda data: data.replace(b'\\"round\\"', b'\\"sound\\"'),
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    ],
)
def test_a_damaged_entry_is_said_and_the_one_before_is_taken(tmp_path, hurt, caplog):
    own = journal(tmp_path)
    own.write(entry(1))
    own.write(entry(2))
    newest = path_of(tmp_path, 2)
    before = newest.read_bytes()
    newest.write_bytes(hurt(before))
    assert newest.read_bytes() != before
    with caplog.at_level(logging.WARNING):
        assert same(own.read(), entry(1))
    assert "round-000002.safetensors cannot be used" in caplog.text
    path_of(tmp_path, 1).unlink()
    assert own.read() is None


def test_no_single_bad_byte_gets_through(tmp_path):
    own = journal(tmp_path)
    own.write(entry(1))
    path = path_of(tmp_path, 1)
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        found = own.read()
        assert found is None or same(found, entry(1))


def test_an_entry_of_a_release_with_other_fields_is_passed_over(tmp_path, caplog):
    own = journal(tmp_path)
    own.write(entry(1))
    other = msgspec.defstruct("Place", [("round", int), ("batches", int)])
    own.write(Entry(other(round=2, batches=5), {}, {}))
    assert same(own.read(), entry(1))
    assert "missing required field" in caplog.text


def test_entries_of_another_bundle_or_optimiser_are_passed_over(tmp_path):
    own = journal(tmp_path)
    own.write(entry(1))
    own.write(entry(2, bundle="c" * 64))
    assert same(own.read(), entry(1))
    own.write(entry(2, optimizer="adam"))
    assert same(own.read(), entry(1))
    assert own.read(2) is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/x", "a/b", "a\\b", "a\n", "a\0", "A", "x" * 64, "-x"]
)
def test_names_that_would_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(ProtocolError, match="the server calls this device"):
        journal(tmp_path, run=name)
    with pytest.raises(ProtocolError, match="the server calls this device"):
        journal(tmp_path, device=name)
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_run_leaves_no_entries(tmp_path):
    own, other = journal(tmp_path), journal(tmp_path, run="run-2")
    own.write(entry(1))
    other.write(entry(1))
    own.clear()
    own.clear()
    assert own.read() is None
    assert not (tmp_path / "d0/run-1").exists()
    assert same(other.read(), entry(1))


def test_of_other_runs_the_newest_three_are_kept(tmp_path):
    for number in range(6):
        journal(tmp_path, run=f"run-{number}").write(entry(1))
        os.utime(tmp_path / "d0" / f"run-{number}", (number, number))
    journal(tmp_path, device="d1").write(entry(1))
    journal(tmp_path, run="run-0").clear_old()
    left = sorted(path.name for path in (tmp_path / "d0").iterdir())
    assert left == ["run-0", "run-3", "run-4", "run-5"]
    assert same(journal(tmp_path, device="d1").read(), entry(1))
    journal(tmp_path, device="d9").clear_old()


def test_what_no_journal_wrote_is_left_alone(tmp_path):
    # The server names the device: it must not be able to name a folder to be emptied.
    for number in range(9):
        (tmp_path / "d0" / f"photos-{number}").mkdir(parents=True)
        (tmp_path / "d0" / f"photos-{number}" / "a.jpg").write_text("of last summer")
    own = journal(tmp_path)
    own.write(entry(1))
    (tmp_path / "d0/run-1/notes.txt").write_text("mine")
    own.clear_old()
    own.clear()
    assert len(list((tmp_path / "d0").glob("photos-*/a.jpg"))) == 9
    assert files(tmp_path) == ["notes.txt"]


def test_a_folder_that_cannot_be_written_is_an_oserror(tmp_path):
    (tmp_path / "d0").write_text("in the way")
    own = journal(tmp_path)
    with pytest.raises(OSError, match=r"directory|exists"):
        own.write(entry(1))
    assert own.read() is None
    own.clear()
    own.clear_old()


def test_a_server_that_makes_up_names_does_not_fill_the_disk(tmp_path):
    for number in range(80):
        own = journal(tmp_path, device=f"name-{number}", run=f"run-{number}")
        own.write(entry(1))
        os.utime(tmp_path / f"name-{number}" / f"run-{number}", (number, number))
        own.clear_old()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"name-{number}" for number in range(80 - 64, 80)}
    own.clear()
    assert not (tmp_path / "name-79").exists()
