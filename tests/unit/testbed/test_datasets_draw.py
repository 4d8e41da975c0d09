"""The images of an experiment: drawn once and for all, and held apart."""

import numpy as np
import pytest

from slfac.data import read_idx_split, write_idx_split
from slfac.testbed.datasets.draw import draw
from slfac.testbed.datasets.named import load_samples
from slfac.wire.errors import DataError

TRAIN, TEST = 500, 70


@pytest.fixture
def numbered(tmp_path):
    """A data set whose images hold their own number, and whose labels follow from it."""
    for split, start, count in (("train", 0, TRAIN), ("test", 1000, TEST)):
        numbers = np.arange(start, start + count, dtype=np.int16)
        images = np.broadcast_to(numbers[:, None, None], (count, 2, 2))
        write_idx_split(tmp_path / "data", split, images, numbers % 10)
    return tmp_path / "data"


def numbers(folder, split):
    images, labels = read_idx_split(folder, split)
    found = images[:, 0, 0]
    np.testing.assert_array_equal(labels, found % 10)
    assert len(set(found)) == len(found)
    return list(found)


def prepare(data, out, split, train=200, held_out=100):
    samples = load_samples(str(data), {}, print)
    drawn = draw(samples, out, split=split, train_samples=train, held_out=held_out)
    return drawn.path, drawn.digest


def test_validation_images_are_held_out_of_the_training_set(numbered, tmp_path):
    folder, _ = prepare(numbered, tmp_path, "validation")
    train, held_out = (numbers(folder, split) for split in ("train", "test"))
    assert (len(train), len(held_out)) == (200, 100)
    assert not set(train) & set(held_out)
    assert max(train + held_out) < TRAIN


def test_both_splits_train_on_the_same_images_and_validation_sees_no_test_image(numbered, tmp_path):
    validation, _ = prepare(numbered, tmp_path, "validation")
    test, _ = prepare(numbered, tmp_path, "test")
    assert numbers(validation, "train") == numbers(test, "train")
    assert numbers(test, "test") == list(range(1000, 1000 + TEST))
    assert not set(numbers(validation, "test")) & set(range(1000, 1000 + TEST))


def test_the_order_is_mixed_and_always_the_same(numbered, tmp_path):
    folder, first = prepare(numbered, tmp_path / "a", "validation")
    again, second = prepare(numbered, tmp_path / "b", "validation")
    assert first == second
    assert numbers(folder, "train") == numbers(again, "train")
    train = np.array(numbers(folder, "train"))
    assert abs(train.mean() - TRAIN / 2) < 40
    assert not (np.diff(train) > 0).all()


def test_the_draw_of_today_is_the_draw_of_ever(numbered, tmp_path):
    # Results that were written before are of these images, and are found again by their hash.
    folder, images = prepare(numbered, tmp_path, "validation")
    assert numbers(folder, "train")[:5] == [61, 406, 108, 296, 233]
    assert images.startswith("e884d49b3e9fb4ac")


def test_other_images_have_another_hash_and_folder(numbered, tmp_path):
    first, images = prepare(numbered, tmp_path, "validation")
    kept = numbers(first, "train")
    labels_of_first = read_idx_split(first, "train")[1]
    assert prepare(numbered, tmp_path, "validation") == (first, images)
    test, _ = prepare(numbered, tmp_path, "test")
    more, _ = prepare(numbered, tmp_path, "validation", held_out=101)
    # A data set of the same name.
    pictures, labels = read_idx_split(numbered, "train")
    write_idx_split(numbered, "train", pictures, (labels + 1) % 10)
    other, _ = prepare(numbered, tmp_path, "validation")
    assert len({first, test, more, other}) == 4
    assert numbers(first, "train") == kept
    np.testing.assert_array_equal(read_idx_split(first, "train")[1], labels_of_first)


def test_too_few_images_are_refused(numbered, tmp_path):
    with pytest.raises(DataError, match="500 training samples, 501 are wanted"):
        prepare(numbered, tmp_path / "v", "validation", train=401)
    prepare(numbered, tmp_path / "v", "test", train=401)


def test_images_without_labels_are_refused(numbered, tmp_path):
    images, labels = read_idx_split(numbered, "train")
    write_idx_split(numbered, "train", images, labels[:-1])
    with pytest.raises(DataError, match="500 training samples, but 499 labels"):
        prepare(numbered, tmp_path / "v", "validation")


def test_a_folder_that_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="train-images"):
        prepare(tmp_path, tmp_path / "v", "validation")
