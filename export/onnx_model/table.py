"""What an operator of a structure is: its inputs, its attributes, and its call in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slfac.export.onnx_model.fields import Field


@dataclass(frozen=True)
class Call:
    """One call in torch.

    Attributes:
        function: What is called; with fx nodes or tensors among the arguments.
        args: Its positional arguments.
        kwargs: Its named arguments.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


Translate = Callable[[Sequence[Any], Mapping[str, Any]], Call]


@dataclass(frozen=True)
class Op:
    """One operator.

    Attributes:
        translate: From inputs and attributes to a call. An input is whatever stands for a
            tensor (the same function serves fx graphs and shape checks), a number, or None.
        inputs: Least and greatest count of inputs.
        fields: Attributes it takes.
        many: Whether it may have more than one output.
        check: What torch itself does not check without values; raises ValueError.
        module: Name of the ``torch.nn`` module that it is, where it has state or a mode.
    """

    translate: Translate
    inputs: tuple[int, int]
    fields: Mapping[str, Field] = field(default_factory=dict)
    many: bool = False
    check: Callable[[Sequence[Any], Mapping[str, Any]], None] | None = None
    module: str = ""
