import numpy as np
import pytest
from PIL import Image

from slfac.data import open_dataset
from slfac.wire.errors import DataError


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **options)


def opened(path, split="train", input_shape=(1, 4, 4), num_classes=2):
    return open_dataset(path, split=split, input_shape=input_shape, num_classes=num_classes)


def test_classes_and_files_are_sorted_and_values_kept(tmp_path):
    grey = np.arange(16).reshape(4, 4)
    save(tmp_path / "train/dog/a.png", grey)
    save(tmp_path / "train/cat/b.PNG", grey + 1)
    save(tmp_path / "train/cat/a.bmp", grey + 2)
    save(tmp_path / "test/dog/x.png", grey + 3)
    (tmp_path / "test/cat").mkdir()
    (tmp_path / "train/cat/.hidden.png").write_bytes(b"")
    (tmp_path / "train/cat/readme.txt").write_text("no image")
    data = opened(tmp_path)
    np.testing.assert_array_equal(data.images[:, 0], [grey + 2, grey + 1, grey])
    assert data.labels.tolist() == [0, 0, 1]
    assert opened(tmp_path, "test").labels.tolist() == [1]


def test_colour_is_channels_first_and_palettes_are_resolved(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (4, 4, 3))
    save(tmp_path / "a/1.png", rgb)
    Image.fromarray(rgb.astype(np.uint8)).quantize(16).save(tmp_path / "a/2.png")
    (tmp_path / "b").mkdir()
    data = opened(tmp_path, input_shape=(3, 4, 4))
    np.testing.assert_array_equal(data.images[0], rgb.transpose(2, 0, 1))
    assert data.images.shape == (2, 3, 4, 4)


def test_images_are_converted_and_resized_to_the_model(tmp_path):
    save(tmp_path / "a/1.jpg", np.full((9, 7, 3), 200), quality=100)
    save(tmp_path / "b/1.png", np.full((4, 4), 50))
    data = opened(tmp_path, input_shape=(3, 4, 4))
    assert data.images.shape == (2, 3, 4, 4)
    assert abs(data.images[0].astype(int) - 200).max() <= 1
    assert (data.images[1] == 50).all()


def test_every_class_needs_its_folder(tmp_path):
    save(tmp_path / "train/cat/a.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"1 class folders \(cat\), the model has 2 outputs"):
        opened(tmp_path)


def test_classes_of_both_splits_must_agree(tmp_path):
    for name in ("train/cat/a.png", "train/dog/a.png", "test/cat/a.png", "test/cow/a.png"):
        save(tmp_path / name, np.zeros((4, 4)))
    with pytest.raises(DataError, match="class folders of test are not those of train"):
        opened(tmp_path)


def test_absent_split_is_named(tmp_path):
    save(tmp_path / "train/cat/a.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match="no folder test"):
        opened(tmp_path, "test")


def test_sixteen_bits_a_channel_are_not_cut_in_silence(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "a/1.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        opened(tmp_path)


def test_input_that_is_no_image(tmp_path):
    save(tmp_path / "a/1.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"model input of \(6,\)"):
        opened(tmp_path, input_shape=(6,))
