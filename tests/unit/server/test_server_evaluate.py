import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.halves import torch_model
from harness.site import write_digits
from slfac.data import apply, open_dataset
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


def test_images_that_do_not_fit_are_refused_at_once(bn_bundle, tmp_path):
    write_digits(tmp_path, train=20, test=20, size=12)
    with pytest.raises(DataError):
        Evaluator(bn_bundle, tmp_path, 1)
