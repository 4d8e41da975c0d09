import sys

import numpy as np
import pytest

from slfac.data import open_dataset, write_idx_split
from slfac.wire.errors import DataError, MissingExtraError

pytestmark = pytest.mark.device


def opened(path, split="train", input_shape=(1, 4, 5), num_classes=3):
    return open_dataset(path, split=split, input_shape=input_shape, num_classes=num_classes)


def images_of(n, *shape):
    return np.arange(n * int(np.prod(shape))).reshape(n, *shape).astype(np.uint8)


def test_idx_folder_gets_a_channel_axis_and_stays_uint8(tmp_path):
    images = images_of(4, 4, 5)
    write_idx_split(tmp_path, "train", images, np.array([0, 1, 2, 0]))
    data = opened(tmp_path)
    assert data.images.dtype == np.uint8
    assert data.labels.dtype == np.int64
    np.testing.assert_array_equal(data.images, images[:, None])
    assert data.labels.tolist() == [0, 1, 2, 0]
    assert len(data) == 4


def test_npz_with_splits(tmp_path):
    path = tmp_path / "d.npz"
    train, test = images_of(3, 1, 4, 5), images_of(2, 1, 4, 5) + 1
    np.savez_compressed(path, x_train=train, y_train=[0, 1, 2], x_test=test, y_test=[2, 1])
    np.testing.assert_array_equal(opened(path).images, train)
    np.testing.assert_array_equal(opened(path, "test").images, test)
    assert opened(path, "test").labels.tolist() == [2, 1]


def test_npz_without_splits_serves_either(tmp_path):
    path = tmp_path / "d.npz"
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    np.savez(path, x=x, y=np.array([[0], [1], [2]], np.uint8))
    for split in ("train", "test"):
        data = opened(path, split, (6,))
        np.testing.assert_array_equal(data.images, x)
        assert data.labels.tolist() == [0, 1, 2]


def test_channels_last_is_turned(tmp_path):
    path = tmp_path / "d.npz"
    x = images_of(2, 4, 5, 3)
    np.savez(path, x=x, y=[0, 1])
    data = opened(path, input_shape=(3, 4, 5))
    np.testing.assert_array_equal(data.images, x.transpose(0, 3, 1, 2))


def test_fortran_order_and_other_dtypes_become_float32(tmp_path):
    path = tmp_path / "d.npz"
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(3, 2, 7)))
    np.savez(path, x=x, y=np.array([0, 1, 2], ">i4"))
    data = opened(path, input_shape=(2, 7))
    assert data.images.dtype == np.float32
    np.testing.assert_array_equal(data.images, x.astype(np.float32))


def test_shape_error_names_both_shapes(tmp_path):
    write_idx_split(tmp_path, "train", images_of(2, 4, 6), np.array([0, 1]))
    with pytest.raises(DataError, match=r"shape \(4, 6\), the model takes \(1, 4, 5\)"):
        opened(tmp_path)


@pytest.mark.parametrize("label", [3, -1])
def test_label_out_of_range_names_the_sample(tmp_path, label):
    np.savez(tmp_path / "d.npz", x=images_of(3, 4, 5), y=[0, label, label])
    with pytest.raises(DataError, match=rf"label {label} of sample 1 is not in 0\.\.2"):
        opened(tmp_path / "d.npz")


def test_unequal_lengths(tmp_path):
    write_idx_split(tmp_path, "train", images_of(3, 4, 5), np.array([0, 1]))
    with pytest.raises(DataError, match="3 samples but 2 labels"):
        opened(tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_first_sample_that_is_not_finite_is_named(tmp_path, bad):
    x = np.zeros((4, 6))
    x[2:, 3] = bad
    np.savez(tmp_path / "d.npz", x=x, y=[0, 1, 2, 0])
    with pytest.raises(DataError, match="sample 2 holds NaN"):
        opened(tmp_path / "d.npz", input_shape=(6,))


def test_paths_that_are_no_data_set(tmp_path):
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").mkdir()
    for name, words in [("text", "is no data set"), ("empty", "is no data set"), ("x", "exist")]:
        with pytest.raises(DataError, match=words) as caught:
            opened(tmp_path / name)
        assert str(tmp_path / name) in caught.value.what
        assert "IDX" in caught.value.remedy


def test_image_folder_without_pillow_names_the_extra(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match="images"):
        opened(tmp_path)
