import hashlib
import time

import numpy as np
import pytest

from slfac.data import open_dataset
from slfac.testbed.mnist5k import fetch_mnist5k

pytestmark = pytest.mark.slow

SHA256 = {
    "train-images-idx3-ubyte": "bf7bb6a75c820168098a4e8dc2e0eeadc4e7aeaf4a96d1cdcaa75704cdb1f2a7",
    "train-labels-idx1-ubyte": "bfc0097311f7eb619b6f1a6007f72b7e7287a7ef149b76edf33518432de527e5",
    "t10k-images-idx3-ubyte": "2f3a7ead0dd2074cd7350cd648322cedef0f42f03478b2e924054e1db6aadaf0",
    "t10k-labels-idx1-ubyte": "c793c6bca0d7f8d466935e0707ee1bc005b2c92d2cd5316b9b09e0e5f43bea14",
}


def test_downloads_once_and_splits_evenly(tmp_path, monkeypatch):
    said = []
    folder = fetch_mnist5k(tmp_path, said.append)
    assert len(said) == 2
    hashes = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    assert hashes == SHA256
    images = []
    for split, each in (("train", 400), ("test", 100)):
        data = open_dataset(folder, split=split, input_shape=(1, 28, 28), num_classes=10)
        assert np.bincount(data.labels).tolist() == [each] * 10
        assert len(set(data.labels[:20].tolist())) > 5
        images.append(data.images.reshape(len(data), -1))
    assert not {row.tobytes() for row in images[0]} & {row.tobytes() for row in images[1]}
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name]

    # Without a network, and in no time.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    began = time.perf_counter()
    assert fetch_mnist5k(tmp_path, said.append) == folder
    assert time.perf_counter() - began < 1
    assert len(said) == 2
