"""A device's step beside torch eager: forward, backward and update, one thread."""

import numpy as np
import pytest
import torch

from harness.halves import torch_halves
from slfac.device.front import Front
from slfac.device.optim import make_optimizer
from slfac.export import export_bundle

BATCH = 16
FRONTS = {
    "cnn pool1 1x28x28": ("cnn", {}, "pool1", (1, 28, 28)),
    "resnet18 layer1.0 3x32x32": ("resnet18", {}, "layer1.0", (3, 32, 32)),
}


@pytest.fixture(scope="module", params=FRONTS, ids=lambda name: name.replace(" ", "-"))
def front(request, tmp_path_factory):
    model, kwargs, cut, shape = FRONTS[request.param]
    bundle = export_bundle(
        model=model,
        kwargs=kwargs,
        cut=cut,
        input_shape=shape,
        num_classes=10,
        out=tmp_path_factory.mktemp("bench") / "bundle",
    ).bundle
    x = np.random.default_rng(0).standard_normal((BATCH, *shape)).astype(np.float32)
    return request.param, bundle, x


@pytest.mark.benchmark(group="front")
def test_step_in_onnxruntime(front, benchmark):
    name, bundle, x = front
    session = Front(bundle)
    optimizer = make_optimizer("sgd:lr=0.01,momentum=0.9")
    shape = (BATCH, *bundle.manifest.smashed[0].shape)
    gradient = np.full(shape, 1e-3, np.float32)

    def step():
        session.forward(x)
        optimizer.step(session.parameters, session.backward([gradient]))

    benchmark.extra_info["front"] = name
    benchmark(step)


@pytest.mark.benchmark(group="front")
def test_step_in_torch(front, benchmark):
    name, bundle, x = front
    module, _ = torch_halves(bundle)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    batch = torch.from_numpy(x)
    gradient = torch.full((BATCH, *bundle.manifest.smashed[0].shape), 1e-3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def step():
        optimizer.zero_grad()
        module(batch).backward(gradient)
        optimizer.step()

    benchmark.extra_info["front"] = name
    benchmark(step)
    torch.set_num_threads(threads)
