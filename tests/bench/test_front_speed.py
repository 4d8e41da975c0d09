"""A device's step beside torch eager: forward, backward and update, one thread."""

import pytest
import torch

from slfac.export import export_bundle
from slfac.testbed.bench.front import FRONTS
from slfac.testbed.bench.front_steps import DeviceStep
from slfac.testbed.bench.front_torch import TorchStep

BATCH = 16


@pytest.fixture(scope="module", params=["cnn-pool1", "resnet18"])
def front(request, tmp_path_factory):
    case = FRONTS[request.param]
    out = tmp_path_factory.mktemp("bench") / "bundle"
    bundle = export_bundle(
        model=case.model,
        kwargs=case.kwargs,
        cut=case.cut,
        input_shape=case.input_shape,
        num_classes=10,
        out=out,
    ).bundle
    return request.param, bundle


@pytest.mark.benchmark(group="front")
@pytest.mark.parametrize("make", [DeviceStep, TorchStep])
def test_step(front, make, benchmark):
    name, bundle = front
    threads = torch.get_num_threads()
    taken = make(bundle, BATCH)

    def step():
        taken.forward()
        taken.backward()
        taken.update()

    benchmark.extra_info["front"] = name
    benchmark(step)
    torch.set_num_threads(threads)
