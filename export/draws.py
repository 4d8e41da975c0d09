"""Random numbers of a front, as tensors that are given to it instead of drawn by torch.

Dropout and its kin draw inside the model. On a device the numbers come from a keyed
generator, so that a step that is repeated draws the same: here every draw becomes an
input of uniform numbers in [0, 1).
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from slfac.wire.errors import ExportError
from slfac.wire.manifest import RandomSpec

aten: Any = torch.ops.aten
_BATCHES = (2, 3)


class Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, random numbers come from a function and not from torch.

    Args:
        take: Gets the shape of a draw, gives uniform numbers of that shape.
    """

    def __init__(self, take: Callable[[Sequence[int]], Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._take = take
        self._plain = contextlib.ExitStack()

    def __enter__(self) -> Any:
        # The other kinds of attention have no ONNX translation, and count as drawing even
        # without dropout.
        self._plain.enter_context(sdpa_kernel(SDPBackend.MATH))
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._plain.close()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Stand for the operators that draw, and let all else pass."""
        del types
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or _draws_nothing(func, args):
            return func(*args, **kwargs)
        if func is aten.bernoulli_.float:
            return args[0].copy_(self._keep(args[0], args[1] if len(args) > 1 else 0.5))
        if func is aten.bernoulli.p:
            return self._keep(args[0], args[1])
        if func is aten.native_dropout.default:
            kept = self._keep(args[0], 1 - args[1])
            return args[0] * kept / (1 - args[1]), kept.to(torch.bool)
        if func in {aten.rand_like.default, aten.rand.default}:
            return self._take(getattr(args[0], "shape", args[0]))
        raise ExportError(
            f"the front draws random numbers by {func}, which no device can repeat",
            "draw them with dropout, torch.bernoulli or torch.rand",
        )

    def _keep(self, like: Tensor, chance: float) -> Tensor:
        return (self._take(like.shape) < chance).to(like.dtype)


def _draws_nothing(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether a call is attention without dropout, by an operator that could draw."""
    return func is aten._scaled_dot_product_flash_attention_for_cpu.default and not any(args[3:4])


class GivenDraws(Draws):  # type: ignore[no-untyped-call]
    """Takes the numbers from given tensors, one a draw, in order.

    Args:
        tensors: One a draw, as :func:`list_draws` lists them.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._waiting = iter(tensors)
        super().__init__(lambda shape: next(self._waiting).reshape(tuple(shape)))


def list_draws(
    half: nn.Module, *input_shapes: tuple[int, ...], prefix: str = "random"
) -> tuple[RandomSpec, ...]:
    """What a front or head draws in one training step.

    Args:
        half: It; it is not changed.
        *input_shapes: Shape of each of its inputs, without the batch axis.
        prefix: What the names begin with.

    Returns:
        One spec a draw, in order.

    Raises:
        ExportError: A draw's size is neither fixed nor proportional to the batch.
    """
    runs = [_shapes(half, batch, input_shapes) for batch in _BATCHES]
    if len(runs[0]) != len(runs[1]):
        raise ExportError("how often the front draws random numbers depends on the batch")
    pairs = enumerate(zip(*runs, strict=True))
    return tuple(_spec(f"{prefix}.{index}", *shapes) for index, shapes in pairs)


def _shapes(
    half: nn.Module, batch: int, input_shapes: Sequence[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    seen: list[tuple[int, ...]] = []

    def take(shape: Sequence[int]) -> Tensor:
        seen.append(tuple(shape))
        return torch.full(tuple(shape), 0.5)

    with torch.no_grad(), Draws(take):
        copy.deepcopy(half).train()(*(torch.zeros(batch, *shape) for shape in input_shapes))
    return seen


def _spec(name: str, first: tuple[int, ...], second: tuple[int, ...]) -> RandomSpec:
    if first == second:
        return RandomSpec(name=name, shape=first, per_sample=False)
    sizes = [math.prod(shape) for shape in (first, second)]
    if sizes[0] * _BATCHES[1] != sizes[1] * _BATCHES[0] or sizes[0] % _BATCHES[0]:
        raise ExportError(
            f"the front draws {first} random numbers for {_BATCHES[0]} samples and {second} "
            f"for {_BATCHES[1]}"
        )
    shape = first[1:] if first[0] == _BATCHES[0] else (sizes[0] // _BATCHES[0],)
    return RandomSpec(name=name, shape=shape, per_sample=True)
