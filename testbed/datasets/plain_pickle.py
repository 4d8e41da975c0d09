"""Reads arrays, numbers and texts out of a pickle without running anything that it names.

A pickle is a program. This one is not run: of its instructions, those that build lists, dicts,
texts, numbers and NumPy arrays are followed, and any other ends it. It serves files that others
have published in that form, and whose hash is pinned.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from slfac.wire.errors import DataError

_MARK = object()
_PLAIN = {"BININT", "BININT1", "BININT2", "BINUNICODE", "BINFLOAT", "LONG1"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


@dataclass
class _Made:
    """What an instruction would have made by a call: what was called, with what, and its state."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


def read_pickle(data: bytes) -> Any:
    """The value that a pickle of protocol 2 describes.

    Args:
        data: The pickle.

    Returns:
        Lists, tuples, dicts, texts, bytes, numbers, None and NumPy arrays; arrays of objects are
        lists.

    Raises:
        DataError: It holds an instruction or a name that is none of those, or is damaged.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            _follow(opcode.name, argument, stack, memo)
        (value,) = stack
        return _finished(value)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"a file of Python values cannot be read: {error}") from error


def _follow(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in _PLAIN or name == "GLOBAL":
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in ("BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "MARK":
        stack.append(_MARK)
    elif name in ("EMPTY_LIST", "EMPTY_DICT"):
        stack.append([] if name == "EMPTY_LIST" else {})
    elif name in _ACTIONS:
        _ACTIONS[name](stack)
    elif name not in ("PROTO", "STOP"):
        raise ValueError(f"instruction {name} is not followed")


def _since_mark(stack: list[Any]) -> list[Any]:
    place = max(index for index, item in enumerate(stack) if item is _MARK)
    items = stack[place + 1 :]
    del stack[place:]
    return items


def _tuple_of(count: int) -> Callable[[list[Any]], None]:
    def build(stack: list[Any]) -> None:
        items = tuple(stack[-count:])
        del stack[-count:]
        stack.append(items)

    return build


def _tuple(stack: list[Any]) -> None:
    stack.append(tuple(_since_mark(stack)))


def _append(stack: list[Any]) -> None:
    item = stack.pop()
    stack[-1].append(item)


def _appends(stack: list[Any]) -> None:
    items = _since_mark(stack)
    stack[-1].extend(items)


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    stack[-1][key] = value


def _set_items(stack: list[Any]) -> None:
    items = _since_mark(stack)
    stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _reduce(stack: list[Any]) -> None:
    arguments = stack.pop()
    name = stack.pop()
    if name == "_codecs encode":
        text, encoding = arguments
        if encoding != "latin1":
            raise ValueError(f"encoding {encoding!r} is not followed")
        stack.append(text.encode("latin1"))
    elif name in ("numpy.core.multiarray _reconstruct", "numpy dtype"):
        stack.append(_Made(name, arguments))
    else:
        raise ValueError(f"a call of {name!r} is not followed")


def _build(stack: list[Any]) -> None:
    state = stack.pop()
    stack[-1].state = state


_ACTIONS: dict[str, Callable[[list[Any]], None]] = {
    "TUPLE": _tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "REDUCE": _reduce,
    "BUILD": _build,
}


def _finished(value: Any) -> Any:
    """The value with arrays in place of what stands for them."""
    if isinstance(value, _Made):
        return _array(value)
    if isinstance(value, list):
        return [_finished(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_finished(item) for item in value)
    if isinstance(value, dict):
        return {key: _finished(item) for key, item in value.items()}
    return value


def _array(made: _Made) -> Any:
    _, shape, dtype, fortran, content = made.state
    kind = dtype.arguments[0]
    if kind == "O8":
        return [_finished(item) for item in content]
    if kind[0] not in "biufU":
        raise ValueError(f"an array of {kind!r} is not followed")
    order = dtype.state[1].replace("|", "=") if dtype.state else "="
    array = np.frombuffer(content, np.dtype(kind).newbyteorder(order))
    return array.reshape(shape, order="F" if fortran else "C")
