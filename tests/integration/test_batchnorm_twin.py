"""BatchNorm on the device: batch statistics and running ones as torch keeps them."""

import numpy as np
import pytest
import torch

from harness.halves import torch_halves
from harness.site import Site, run_site, write_digits
from harness.twin import Twin
from slfac.data import BatchStream, apply, open_dataset


def test_a_front_with_batchnorm_follows_torch_through_rounds(tmp_path, bn_bundle):
    manifest = bn_bundle.manifest
    data = write_digits(tmp_path / "data", train=200, test=40, size=manifest.input.shape[1])
    site = Site.make(tmp_path, bn_bundle.path, data, devices=1)
    server, devices = run_site(
        site,
        rounds=3,
        steps_per_round=17,
        optimizer="sgd:lr=0.01",
        codec_up="none",
        codec_down="none",
        partition="own",
    )
    front, back = torch_halves(bn_bundle)
    twin = Twin([front], back, lambda p: torch.optim.SGD(p, lr=0.01))
    dataset = open_dataset(data, split="train", input_shape=manifest.input.shape, num_classes=10)
    stream = BatchStream(len(dataset), 16, 0, 0)

    def draw():
        rows = stream.next()
        x = apply(manifest.preprocessing, dataset.images[rows])
        return torch.from_numpy(x), torch.from_numpy(dataset.labels[rows])

    twin.round([draw], [3 * 17])
    assert np.abs(np.array(devices[0].losses) - np.array(twin.losses[0])).max() < 1e-4
    result = server.finished()
    for name, tensor in front.state_dict().items():
        assert result.front[name] == pytest.approx(tensor.numpy(), abs=1e-4), name
    assert result.front["bn1.num_batches_tracked"] == 3 * 17
