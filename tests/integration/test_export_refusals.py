"""What cannot be exported is refused in one line that names the layer, the operator, a way out."""

import re

import pytest

from harness.refused import LAYERS
from slfac.export import export_bundle
from slfac.wire.errors import ExportError

LINES = {
    "grid": "operation 'grid_sample' of layer 'front.1': aten.grid_sampler_2d_backward has no ONNX "
    "translation; choose a cut before it, or replace it",
    "fourier": "operation 'fft_rfft2' of layer 'front.1': aten.where of complex numbers has no "
    "ONNX translation; choose a cut before it, or replace it",
    "product": "operation 'prod' of layer 'front.1': prims.prod has no ONNX translation; choose "
    "a cut before it, or replace it",
    "conv3d": "layer 'front.1.1' (Conv3d): a three-dimensional convolution cannot be trained "
    "through ONNX; choose a cut before it",
    "response": "layer 'front.1' (LocalResponseNorm): aten.avg_pool3d_backward has no ONNX "
    "translation; choose a cut before it, or replace it",
    "rrelu": "layer 'front.1' (RReLU): the front draws random numbers by "
    "aten.rrelu_with_noise.default, which no device can repeat; draw them with dropout, "
    "torch.bernoulli or torch.rand",
    "randn": "operation 'randn_like' of layer 'front.1': the front draws random numbers by "
    "aten.randn_like.default, which no device can repeat; draw them with dropout, "
    "torch.bernoulli or torch.rand",
    "spectral": "layer 'front.1' (ParametrizedConv2d) changes its buffer "
    "'front.1.parametrizations.weight.0._u' in a training step, and only BatchNorm's statistics "
    "may be; remove that, or choose a cut before it",
    "momentum": "layer 'front.1' (BatchNorm2d) has no momentum: it averages over all batches so "
    "far; give it a momentum, such as 0.1, or freeze it (--freeze-bn)",
    "instance": "layer 'front.1' (InstanceNorm2d) changes its buffer 'front.1.running_mean' in a "
    "training step, and only BatchNorm's statistics may be; remove that, or choose a cut before it",
    "ema": "layer 'front.1' (Module) changes its buffer 'front.1.seen' in a training step, and "
    "only BatchNorm's statistics may be; remove that, or choose a cut before it",
    "median": "operation 'median' of layer 'front.1': aten.median has no ONNX translation; choose "
    "a cut before it, or replace it",
    "cdist": "operation 'cdist' of layer 'front.1': aten._cdist_forward has no ONNX translation; "
    "choose a cut before it, or replace it",
    "view": "'mul_' writes in place into 'getitem', which shares memory with 'mul', read later; "
    "compute it without writing in place",
}


@pytest.mark.parametrize("layer", LAYERS)
def test_the_line_names_layer_operator_and_a_way_out(layer, tmp_path):
    with pytest.raises(ExportError, match=f"^{re.escape(LINES[layer])}$"):
        export_bundle(
            model="harness.refused:model",
            kwargs={"layer": layer},
            cut="front",
            input_shape=(3, 8, 8),
            out=tmp_path / "bundle",
        )
    assert not (tmp_path / "bundle").exists()
