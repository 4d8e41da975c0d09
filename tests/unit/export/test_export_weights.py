"""Weights of a whole model from a file: each has its place, and a wrong file is told."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from slfac.export.weights import load_weights
from slfac.wire.errors import ExportError


def model(width=3):
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width))


def saved(path, **changes):
    state = {**model().state_dict(), **changes}
    state = {name: value.contiguous() for name, value in state.items() if value is not None}
    save_file(state, path)
    return path


def test_every_tensor_is_taken_over(tmp_path):
    weight = torch.randn(3, 4)
    path = saved(tmp_path / "w", **{"0.weight": weight, "1.num_batches_tracked": None})
    target = model()
    load_weights(target, path)
    assert torch.equal(target[0].weight, weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0.bias": None}, r"lacks '0\.bias' \(1 missing, 0 unknown\)"),
        ({"head.bias": torch.ones(1)}, r"has 'head\.bias', which the model has not"),
        ({"0.weight": torch.ones(4, 3)}, r"'0\.weight' is \(4, 3\), the model's is \(3, 4\)"),
        (
            {"0.weight": torch.ones(2, 4), "1.bias": torch.ones(2)},
            r"'0\.weight' is \(2, 4\), the model's",
        ),
        ({"0.bias": torch.full((3,), float("nan"))}, r"'0\.bias' holds values that are not finite"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    with pytest.raises(ExportError, match=message):
        load_weights(model(), saved(tmp_path / "w", **changes))


def test_a_last_layer_for_other_classes_starts_afresh(tmp_path):
    path = saved(tmp_path / "w", **{"1.weight": torch.ones(5), "0.bias": torch.ones(3)})
    target = model()
    before = target[1].weight.clone()
    assert load_weights(target, path) == ["1.weight"]
    assert torch.equal(target[1].weight, before)
    assert torch.equal(target[0].bias, torch.ones(3))


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "w").write_bytes(b"PK\x03\x04 a pickle, perhaps")
    for path in (tmp_path / "w", tmp_path / "absent", tmp_path):
        with pytest.raises(ExportError, match="cannot be read"):
            load_weights(model(), path)
