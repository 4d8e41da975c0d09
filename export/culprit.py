"""Finds the layer of a front that cannot be translated, so that an error can name it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from slfac.export.decompositions import own_decompositions
from slfac.export.draws import Draws
from slfac.export.half import Half
from slfac.export.to_onnx import quiet_torch
from slfac.wire.errors import ExportError, SlfacError

_BATCH = 3
_OPERATOR = re.compile(r"OpOverload\(op='(\w+\.\w+)'|torch\.ops\.(\w+\.\w+)")
_REMEDY = "choose a cut before it, or replace it"
# Stands for every operator that makes complex numbers.
_COMPLEX = "complex"


@contextmanager
def named_culprit(
    half: Half, *input_shapes: tuple[int, ...], name: str = "front"
) -> Iterator[None]:
    """Turn what tracing raises into an error that names the layer and the operator.

    Args:
        half: What is traced; it is not changed.
        *input_shapes: Shape of each of its inputs, without the batch axis.
        name: What to call it.

    Raises:
        ExportError: In the place of any error.
    """
    with translation_errors(name):
        try:
            yield
        # torch's tracer and exporter raise from a dozen unrelated trees, some private.
        except Exception as error:
            operator, numbers = _operator(error)
            wanted = _COMPLEX if numbers else operator
            layer = _find(half, input_shapes, wanted)
            if isinstance(error, SlfacError) or operator is None:
                raise
            where = f"{layer}: " if layer else ""
            raise ExportError(
                f"{where}{operator}{numbers} has no ONNX translation", _REMEDY
            ) from error


@contextmanager
def translation_errors(half: str) -> Iterator[None]:
    """Turn whatever torch raises on a model that it cannot translate into ExportError.

    Args:
        half: Which half it is of.

    Raises:
        ExportError: In the place of any error.
    """
    try:
        yield
    except SlfacError:
        raise
    # torch's tracer and exporter raise from a dozen unrelated trees, some private.
    except Exception as error:
        # The first cause tells what it is; what wraps it are torch's advice and colours.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ExportError(
            f"torch cannot translate this {half} to ONNX: {type(cause).__name__}: {_first(cause)}",
            "choose another cut, or replace the layer that does it",
        ) from error


def _operator(error: BaseException) -> tuple[str | None, str]:
    """The operator that an exporter's error complains of, and the numbers that it is of."""
    found, numbers = None, ""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen)
        if "No ONNX function found" in text or "Error when translating" in text:
            match = _OPERATOR.search(text)
            found = match[1] or match[2] if match else found
            numbers = " of complex numbers" if "complex-valued" in text else numbers
        seen = seen.__cause__ or seen.__context__
    return found, numbers


def _find(half: Half, input_shapes: Sequence[tuple[int, ...]], operator: str | None) -> str | None:
    """The first layer that uses an operator, or complex numbers, forwards or backwards.

    Raises:
        ExportError: A layer cannot be trained even by itself.
    """
    for deep in (False, True):
        search = _Search(copy.deepcopy(half), operator, deep=deep)
        with quiet_torch(), Draws(lambda shape: torch.full(tuple(shape), 0.5)):
            search.run(*(torch.ones(_BATCH, *shape) for shape in input_shapes))
        if search.found or operator is None:
            return search.found
    return None


class _Search(fx.Interpreter):
    """Runs a front, and each of its operations also backwards.

    Args:
        front: The front; it is changed.
        operator: What to look for.
        deep: Whether to look inside what torch's tracer takes operators apart into, too.

    Attributes:
        found: The first layer that uses it.
    """

    def __init__(self, front: Half, operator: str | None, *, deep: bool) -> None:
        super().__init__(front, graph=front.graph)
        self._operator = operator
        self._deep = deep
        self.found: str | None = None

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and see which operators it needs."""
        if n.op in {"placeholder", "get_attr", "output"}:
            return super().run_node(n)
        title = _title(n, self.module)
        try:
            with _Watch(deep=self._deep) as watch:
                result = self._step(n)
        except SlfacError as error:
            raise ExportError(f"{title}: {error.what}", error.remedy) from error
        except Exception as error:
            raise ExportError(f"{title}: {_first(error)}", _REMEDY) from error
        if self.found is None and self._operator in watch.seen:
            self.found = title
        return result

    def _step(self, node: fx.Node) -> Any:
        leaves: list[Tensor] = []

        def alone(value: Any) -> Any:
            if not _trains(value):
                return value
            leaves.append(value.detach().requires_grad_())
            return leaves[-1].clone()

        args, kwargs = tree_map(alone, self.fetch_args_kwargs_from_env(node))
        result = getattr(self, node.op)(node.target, args, kwargs)
        results = [leaf for leaf in tree_leaves(result) if _trains(leaf) and leaf.requires_grad]
        if results:
            wanted = [*leaves, *(p for p in self.module.parameters() if p.requires_grad)]
            ones = [torch.ones_like(value) for value in results]
            torch.autograd.grad(results, wanted, ones, allow_unused=True)
        return result


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operators that run, and tries what stands for them in a trace.

    Args:
        deep: Whether to do so within what torch takes operators apart into, too.

    Attributes:
        seen: The operators' names.
    """

    def __init__(self, *, deep: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._parts: Mapping[Any, Any] = torch._decomp.decomposition_table if deep else {}
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator."""
        del types
        self.seen.add(str(func).rpartition(".")[0])
        result = self._apart(func, args, kwargs or {})
        if result is NotImplemented:
            result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) and leaf.is_complex() for leaf in tree_leaves(result)):
            self.seen.add(_COMPLEX)
        return result

    def _apart(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run what stands for an operator in a trace, where something does."""
        if func in self._parts:
            # torch's own are made for tracing, and some cannot compute.
            with suppress(Exception), self:
                return self._parts[func](*args, **kwargs)
        own = own_decompositions().get(func)
        return NotImplemented if own is None else own(*args, **kwargs)


def _trains(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _title(node: fx.Node, front: Any) -> str:
    if node.op == "call_module":
        kind = type(front.get_submodule(str(node.target))).__name__
        return f"layer {str(node.target)!r} ({kind})"
    stack: Iterable[Any] = node.meta.get("nn_module_stack", {}).values()
    path = next((path for path, _ in reversed(list(stack)) if path), "")
    name = str(getattr(node.target, "__name__", node.target))
    return f"operation {name!r} of layer {path!r}" if path else f"operation {name!r}"


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
