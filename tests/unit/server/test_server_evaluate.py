import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.halves import torch_model
from harness.offline import variant
from harness.site import write_digits
from slfac.data import apply, open_dataset, write_idx
from slfac.data.idx import read_idx
from slfac.server.back import BackHalf
from slfac.server.evaluate import Evaluator
from slfac.wire.errors import DataError

ALLOW = ("slfac.export.models",)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """More images than one evaluation batch holds, and a last batch that is not full."""
    return write_digits(tmp_path_factory.mktemp("images"), train=20, test=300, size=8)


def moved(bundle):
    """A front with running statistics that are no longer the initial ones."""
    rng = np.random.default_rng(0)
    state = {}
    for name, value in bundle.front_state().items():
        noise = np.abs(rng.normal(0, 0.3, value.shape))
        state[name] = (value + noise).astype(value.dtype)
    return state


def whole_model(bundle, front, back):
    model = torch_model(bundle)
    state = {name: torch.from_numpy(np.asarray(value)) for name, value in front.items()}
    model.load_state_dict({**state, **back.module.state_dict()})
    return model.eval()


def test_the_score_is_that_of_the_whole_model_in_torch(bn_bundle, images):
    back = BackHalf(bn_bundle, "sgd:lr=0.1", ALLOW)
    front = moved(bn_bundle)
    score = Evaluator(bn_bundle, images, 1).score(front, back)
    data = open_dataset(images, split="test", input_shape=(1, 8, 8), num_classes=10)
    x = torch.from_numpy(apply(bn_bundle.manifest.preprocessing, data.images))
    labels = torch.from_numpy(data.labels)
    with torch.no_grad():
        output = whole_model(bn_bundle, front, back)(x)
    assert score.samples == 300
    assert score.accuracy == int((output.argmax(1) == labels).sum()) / 300
    assert score.loss == pytest.approx(float(functional.cross_entropy(output, labels)), rel=1e-4)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (data.labels, output.argmax(1).numpy()), 1)
    assert score.classes.confusion == tuple(map(tuple, expected.tolist()))
    recall = expected.diagonal() / expected.sum(1)
    assert score.classes.recall == pytest.approx(recall)
    assert score.balanced_accuracy == pytest.approx(recall.mean())


@pytest.mark.parametrize("loss", ["cross_entropy", "bce_with_logits", "mse"])
def test_losses_of_classes_are_scored_by_class(tmp_path, loss):
    images = write_digits(tmp_path / "images", train=20, test=40, size=8)
    for split in ("train", "t10k"):
        labels = images / f"{split}-labels-idx1-ubyte"
        write_idx(labels, read_idx(labels) % 4)
    bundle = variant(tmp_path / "b", loss=loss)
    back = BackHalf(bundle, "sgd:lr=0.1", ALLOW)
    event = Evaluator(bundle, images, 1).score(bundle.front_state(), back).as_event()
    assert event["loss"] > 0
    classes = [event[key] for key in ("accuracy", "balanced_accuracy", "recall", "confusion")]
    assert [value is None for value in classes] == [loss == "mse"] * 4


def test_images_that_do_not_fit_are_refused_at_once(bn_bundle, tmp_path):
    write_digits(tmp_path, train=20, test=20, size=12)
    with pytest.raises(DataError):
        Evaluator(bn_bundle, tmp_path, 1)
