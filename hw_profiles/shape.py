"""What the structs of the schema say about their fields, as the checker asks for it."""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from slfac.hw_profiles.values import Value

#: A type of the schema: a struct, ``tuple[struct, ...]``, a Literal, str, int, float or bool.
Shape = Any


@dataclass(frozen=True)
class Hint:
    """What a field is.

    Attributes:
        type: Its type; that which it has where it is known.
        required: Whether it must be given.
    """

    type: Shape
    required: bool


@cache
def hint(table: Shape) -> dict[str, Hint]:
    """The fields of a struct, by their names in a file.

    Args:
        table: The struct.
    """
    fields = msgspec.structs.fields(table)
    return {field.encode_name: Hint(_given(field.type), field.required) for field in fields}


def _given(shape: Shape) -> Shape:
    if _origin(shape) in (Union, types.UnionType):
        (shape,) = (arg for arg in get_args(shape) if arg is not type(None))
    return shape


def _origin(shape: Shape) -> Any:
    return get_origin(shape)


def is_table(shape: Shape) -> bool:
    """Whether a type is a struct.

    Args:
        shape: The type.
    """
    return isinstance(shape, type) and issubclass(shape, msgspec.Struct)


def is_value(shape: Shape) -> bool:
    """Whether a type is that of a figure.

    Args:
        shape: The type.
    """
    return isinstance(shape, type) and issubclass(shape, Value)


def inner(shape: Shape) -> Shape:
    """What a list holds.

    Args:
        shape: Its type.

    Returns:
        The type of its items; None if the type is no list's.
    """
    return get_args(shape)[0] if _origin(shape) is tuple else None


def literal_values(shape: Shape) -> tuple[str, ...]:
    """The texts that a Literal allows.

    Args:
        shape: The type.

    Returns:
        The texts; none if the type is no Literal.
    """
    return get_args(shape) if _origin(shape) is Literal else ()
