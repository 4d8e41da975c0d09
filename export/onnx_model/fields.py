"""Kinds of attributes that an operator of a structure may have, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slfac.wire.errors import ExportError

_REMEDY = "export the model again"
_LARGEST = 1 << 31
FLOAT32_MAX = 3.4028234663852886e38


@dataclass(frozen=True)
class Field:
    """One attribute of an operator.

    Attributes:
        kind: ``int``, ``float``, ``bool``, ``ints`` (a list of whole numbers) or ``choice``.
        default: Value of an attribute that is left out; ``...`` where it must be given.
        low: Least number.
        high: Greatest whole number.
        choices: Values of a ``choice``.
        most: Entries of the longest ``ints``.
    """

    kind: str
    default: Any = ...
    low: float = -FLOAT32_MAX
    high: int = _LARGEST
    choices: tuple[str, ...] = ()
    most: int = 8

    def takes(self, value: object) -> bool:
        """Whether a value is of this kind and within its range."""
        if self.kind == "bool":
            return isinstance(value, bool)
        if self.kind == "int":
            return self._is_int(value)
        if self.kind == "float":
            return is_number(value) and self.low <= value  # type: ignore[operator]
        if self.kind == "choice":
            return isinstance(value, str) and value in self.choices
        return (
            isinstance(value, list)
            and len(value) <= self.most
            and all(self._is_int(entry) for entry in value)
        )

    def _is_int(self, value: object) -> bool:
        return type(value) is int and self.low <= value <= self.high


def is_number(value: object) -> bool:
    """Whether a value is a number that a float32 can hold, and no bool."""
    if type(value) is int:
        return abs(value) <= 1 << 53
    return type(value) is float and abs(value) <= FLOAT32_MAX


def check_fields(
    where: str, fields: Mapping[str, Field], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Check an operator's attributes and add those that are left out.

    Args:
        where: Which node, for messages.
        fields: What the operator takes.
        attributes: What the structure gives.

    Returns:
        A value for each field.

    Raises:
        ExportError: One is unknown, missing, or has a value that it cannot have.
    """
    unknown = sorted(set(attributes) - set(fields))
    if unknown:
        raise ExportError(f"{where} has an unknown attribute {unknown[0]!r}", _REMEDY)
    whole = {}
    for name, field in fields.items():
        value = attributes.get(name, field.default)
        if value is ...:
            raise ExportError(f"{where} lacks its attribute {name}", _REMEDY)
        if name in attributes and not field.takes(value):
            raise ExportError(f"{where} has {name} {str(value)[:80]!r}", _REMEDY)
        whole[name] = value
    return whole
