import msgspec
import numpy as np
import pytest

from harness.offline import kept_bundle, manifest_with, plan
from slfac.data import write_idx
from slfac.device.samples import Samples
from slfac.wire.errors import DataError
from slfac.wire.manifest import TensorSpec
from slfac.wire.messages import Partition

pytestmark = pytest.mark.device

COUNT = 42


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """IDX folder whose image number n is filled with n, so that a batch tells who is in it."""
    path = tmp_path_factory.mktemp("numbered")
    write(path, COUNT)
    return path


def write(path, count):
    numbers = np.arange(count, dtype=np.uint8)
    write_idx(path / "train-images-idx3-ubyte", np.tile(numbers[:, None, None], (1, 8, 8)))
    write_idx(path / "train-labels-idx1-ubyte", numbers % 4)


def samples(folder, index=0, devices=1, manifest=None, **changes):
    manifest = manifest or kept_bundle().manifest
    return Samples(folder, manifest=manifest, plan=plan(**changes), index=index, devices=devices)


def numbers(x):
    """Which images a batch holds, out of what preprocessing made of them."""
    return np.rint((x[:, 0, 0, 0] * 0.25 + 0.5) * 255).astype(int)


def epoch(source):
    return [source.next_batch() for _ in range(source.batches_per_pass)]


def test_one_pass_holds_every_sample_once_preprocessed_with_its_own_label(folder):
    source = samples(folder)
    batches = epoch(source)
    assert len(source) == COUNT
    assert [len(x) for x, _ in batches] == [4] * 10 + [2]
    seen = []
    for x, target in batches:
        assert x.dtype == np.float32
        assert x.shape[1:] == (1, 8, 8)
        assert target.dtype == np.uint8
        assert np.array_equal(numbers(x) % 4, target)
        seen += numbers(x).tolist()
    assert sorted(seen) == list(range(COUNT))


@pytest.mark.parametrize("scheme", ["iid", "dirichlet"])
def test_devices_share_the_set_without_overlap(folder, scheme):
    shares = []
    for index in range(3):
        source = samples(folder, index, 3, partition=Partition(scheme=scheme, beta=1.0))
        seen = {int(n) for _ in range(3) for x, _ in epoch(source) for n in numbers(x)}
        assert len(source) - len(seen) <= 1
        shares.append((len(source), seen))
    assert sum(count for count, _ in shares) == COUNT
    assert sum(len(seen) for _, seen in shares) == len(set().union(*(s for _, s in shares)))


def test_each_device_has_all_of_its_own(folder):
    assert [len(samples(folder, index, 3)) for index in range(3)] == [COUNT] * 3


def test_seed_and_device_fix_the_order(folder):
    def order(index, seed):
        return [numbers(x).tolist() for x, _ in epoch(samples(folder, index, 2, seed=seed))]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_a_remainder_of_one_is_left_out(tmp_path):
    write(tmp_path, 9)
    assert samples(tmp_path).batches_per_pass == 2


def test_targets_follow_the_loss(folder):
    _, target = samples(folder, manifest=manifest_with(loss="mse")).next_batch()
    assert target.shape == (4, 4)
    assert target.dtype == np.float32


def test_a_single_sample_is_too_few(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(DataError, match="leaves 1 samples"):
        samples(tmp_path)


def test_data_that_does_not_fit_the_model_is_refused(folder):
    wide = manifest_with(input=TensorSpec(name="x", shape=(1, 9, 9)))
    with pytest.raises(DataError):
        samples(folder, manifest=wide)
    few = msgspec.structs.replace(kept_bundle().manifest, num_outputs=2)
    with pytest.raises(DataError):
        samples(folder, manifest=few)


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        samples(tmp_path / "nowhere")
