"""Each decomposed backward operator against torch's own gradient."""

import pytest
import torch
from torch.nn import functional

from slfac.export.activation_gradients import hardtanh_backward, threshold_backward
from slfac.export.conv_cases import convolution_backward as any_convolution_backward
from slfac.export.conv_gradients import convolution_backward
from slfac.export.gelu import gelu, gelu_backward
from slfac.export.norm_gradients import weight_norm_backward
from slfac.export.pool_gradients import (
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d_backward,
)
from slfac.export.resize_gradients import (
    adaptive_max_pool2d,
    adaptive_max_pool2d_backward,
    replication_pad_backward,
)
from slfac.export.select_gradients import select_backward

# groups, inner, outer, kernel, stride, padding, dilation
CONVOLUTIONS = {
    "few channels": (1, 3, 8, 3, 1, 1, 1),
    "many channels": (1, 16, 24, 3, 1, 1, 1),
    "strided": (1, 32, 8, 3, 2, 1, 1),
    "resnet stem": (1, 3, 8, 7, 2, 3, 1),
    "many taps": (1, 20, 8, 5, 1, 2, 1),
    "pointwise, strided": (1, 16, 16, 1, 2, 0, 1),
    "dilated": (1, 16, 16, 3, 1, 2, 2),
    "dilated, few channels": (1, 3, 16, 3, 2, 1, 2),
    "stride 8": (1, 16, 8, 8, 8, 0, 1),
    "stride that leaves rows over": (1, 3, 8, 3, 5, 0, 1),
    "pointwise": (1, 16, 24, 1, 1, 0, 1),
    "padding beyond the kernel": (1, 16, 16, 1, 1, 1, 1),
    "depthwise, strided": (8, 8, 8, 3, 2, 1, 1),
    "depthwise, dilated": (8, 8, 8, 3, 1, 2, 2),
    "depthwise, 5 by 5": (8, 8, 8, 5, 1, 1, 1),
    "depthwise, padded beyond the kernel": (8, 8, 8, 3, 1, 3, 1),
    "stride beyond the kernel": (1, 3, 8, 2, 3, 0, 1),
    "depthwise": (8, 8, 8, 3, 1, 1, 1),
    "depthwise, two outputs each": (8, 8, 16, 3, 2, 1, 1),
    "grouped": (4, 16, 8, 3, 2, 1, 2),
}


@pytest.mark.parametrize("geometry", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution_gradients_are_those_of_torch(geometry):
    groups, inner, outer, kernel, stride, padding, dilation = geometry
    torch.manual_seed(0)
    x = torch.randn(3, inner, 17, 19, dtype=torch.float64, requires_grad=True)
    shape = (outer, inner // groups, kernel, kernel)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(outer, dtype=torch.float64, requires_grad=True)
    y = functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    upstream = torch.randn_like(y)
    expected = torch.autograd.grad(y, (x, weight, bias), upstream)
    pairs = [[value] * 2 for value in (stride, padding, dilation)]
    given = convolution_backward(
        upstream, x.detach(), weight.detach(), [outer], *pairs, False, [0, 0], groups, [True] * 3
    )
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_only_wanted_gradients_are_computed():
    x, weight, upstream = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 4, 4)
    given = convolution_backward(
        upstream, x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False]
    )
    assert given[0] is None
    assert given[2] is None


# groups, inner, outer, kernel, stride, padding, dilation, output padding
TRANSPOSED = {
    "plain": (1, 3, 8, 3, 1, 1, 1, 0),
    "doubling": (1, 16, 20, 3, 2, 1, 1, 1),
    "grouped": (2, 4, 6, 4, 2, 1, 1, 0),
    "wide output padding": (1, 3, 4, 2, 2, 0, 3, 2),
}


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("geometry", TRANSPOSED.values(), ids=TRANSPOSED)
def test_transposed_convolution_gradients_are_those_of_torch(geometry, dimensions):
    groups, inner, outer, kernel, *numbers = geometry
    stride, padding, dilation, more = ([number] * dimensions for number in numbers)
    torch.manual_seed(0)
    size = (7, 9)[:dimensions]
    x = torch.randn(3, inner, *size, dtype=torch.float64, requires_grad=True)
    shape = (inner, outer // groups, *[kernel] * dimensions)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(outer, dtype=torch.float64, requires_grad=True)
    y = torch.ops.aten.convolution(x, weight, bias, stride, padding, dilation, True, more, groups)
    upstream = torch.randn_like(y)
    expected = torch.autograd.grad(y, (x, weight, bias), upstream)
    options = (stride, padding, dilation, True, more, groups, [True] * 3)
    given = any_convolution_backward(upstream, x.detach(), weight.detach(), [outer], *options)
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("groups", [1, 4])
def test_one_dimensional_convolution_gradients_are_those_of_torch(groups):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 17, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, 4 // groups, 3, dtype=torch.float64, requires_grad=True)
    y = functional.conv1d(x, weight, None, 2, 1, 2, groups)
    upstream = torch.randn_like(y)
    expected = torch.autograd.grad(y, (x, weight), upstream)
    options = ([2], [1], [2], False, [0], groups, [True, True, False])
    given = any_convolution_backward(upstream, x.detach(), weight.detach(), None, *options)
    assert given[2] is None
    for ours, theirs in zip(given, expected, strict=False):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (17, 5)])
def test_adaptive_max_pool_and_its_gradient_are_those_of_torch(size):
    torch.manual_seed(0)
    # Four values only: nearly every window has a tie.
    x = torch.randint(0, 4, (3, 4, 17, 19)).float().requires_grad_()
    y, indices = functional.adaptive_max_pool2d(x, size, return_indices=True)
    upstream = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, upstream)
    torch.testing.assert_close(adaptive_max_pool2d(x.detach(), size)[0], y)
    given = adaptive_max_pool2d_backward(upstream, x.detach(), indices)
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize("padding", [(2, 1), (0, 3, 2, 1)])
def test_replication_pad_gradient_is_that_of_torch(padding):
    x = torch.randn(2, 3, *(5, 7)[: len(padding) // 2], requires_grad=True)
    y = functional.pad(x, padding, mode="replicate")
    upstream = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, upstream)
    given = replication_pad_backward(upstream, x.detach(), padding)
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize("dim", [0, 2])
def test_weight_norm_gradient_is_that_of_torch(dim):
    v = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    g = torch.rand([4 if dim == 0 else 1, 1, 5 if dim == 2 else 1], dtype=torch.float64)
    g.requires_grad_()
    norm = torch.norm_except_dim(v, 2, dim)
    upstream = torch.randn_like(v)
    expected = torch.autograd.grad(v * (g / norm), (v, g), upstream)
    given = weight_norm_backward(upstream, v.detach(), g.detach(), norm.detach(), dim)
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "ceil"),
    [
        (2, 2, 0, 1, False),
        (3, 2, 1, 1, False),
        (3, 2, 1, 1, True),
        (2, 3, 0, 1, False),
        (3, 1, 1, 1, False),
        (3, 2, 1, 2, False),
        (2, 2, 0, 1, True),
        (5, 3, 2, 1, True),
    ],
)
def test_max_pool_gradient_breaks_ties_as_torch_does(kernel, stride, padding, dilation, ceil):
    torch.manual_seed(0)
    # Four values only: nearly every window has a tie.
    x = torch.randint(0, 4, (3, 4, 17, 19)).float().requires_grad_()
    pairs = [[value] * 2 for value in (kernel, stride, padding, dilation)]
    y, indices = torch.ops.aten.max_pool2d_with_indices(x, *pairs, ceil)
    upstream = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, upstream)
    given = max_pool2d_backward(upstream, x.detach(), *pairs, ceil, indices)
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize(
    "options",
    [
        (2, 2, 0, False, True, None),
        (3, 2, 1, False, True, None),
        (3, 2, 1, True, False, None),
        (3, 2, 1, True, True, None),
        (3, 2, 1, False, True, 5),
    ],
)
def test_average_pool_gradient_is_that_of_torch(options):
    kernel, stride, padding, *rest = options
    torch.manual_seed(0)
    x = torch.randn(3, 4, 17, 19, requires_grad=True)
    y = functional.avg_pool2d(x, *options)
    upstream = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, upstream)
    given = avg_pool2d_backward(upstream, x.detach(), [kernel], [stride], [padding], *rest)
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil"),
    [
        ([2], [], [0], False),
        ([3], [2], [1], False),
        ([3], [2], [1], True),
        ([2], [3], [0], True),
        ([3, 2], [2, 3], [1, 0], True),
    ],
)
@pytest.mark.parametrize("divisor", [1, 5])
def test_an_average_pool_with_a_divisor_is_that_of_torch(kernel, stride, padding, ceil, divisor):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 17, 19)
    expected = torch.ops.aten.avg_pool2d(x, kernel, stride, padding, ceil, False, divisor)
    torch.testing.assert_close(
        avg_pool2d(x, kernel, stride, padding, ceil, False, divisor), expected
    )


@pytest.mark.parametrize("size", [1, 3, (5, 7)])
def test_adaptive_average_pool_gradient_is_that_of_torch(size):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 17, 19, requires_grad=True)
    y = functional.adaptive_avg_pool2d(x, size)
    upstream = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, upstream)
    torch.testing.assert_close(adaptive_avg_pool2d_backward(upstream, x.detach()), expected)


def test_switching_activations_have_the_gradients_of_torch_at_their_bounds_too():
    x = torch.tensor([-1.0, -0.0, 0.0, 1e-45, 3.0, 5.9999995, 6.0, 6.5], requires_grad=True)
    upstream = torch.arange(1.0, 9.0)
    y = torch.relu(x)
    (expected,) = torch.autograd.grad(y, x, upstream)
    assert torch.equal(threshold_backward(upstream, y.detach(), 0), expected)
    (expected,) = torch.autograd.grad(functional.relu6(x), x, upstream)
    assert torch.equal(hardtanh_backward(upstream, x.detach(), 0.0, 6.0), expected)


@pytest.mark.parametrize(("axis", "index"), [(0, 0), (1, 2), (-1, -1), (2, 1)])
def test_the_gradient_of_one_entry_is_zero_elsewhere(axis, index):
    x = torch.randn(3, 4, 5, requires_grad=True)
    y = x.select(axis, index)
    upstream = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, upstream)
    assert torch.equal(select_backward(upstream, list(x.shape), axis, index), expected)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_and_its_gradient_are_those_of_torch(approximate):
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64, requires_grad=True)
    y = functional.gelu(x, approximate=approximate)
    torch.testing.assert_close(gelu(x, approximate), y, rtol=1e-12, atol=1e-12)
    upstream = torch.sin(x.detach())
    expected = torch.autograd.grad(y, x, upstream)[0]
    given = gelu_backward(upstream, x.detach(), approximate=approximate)
    torch.testing.assert_close(given, expected, rtol=1e-12, atol=1e-12)
