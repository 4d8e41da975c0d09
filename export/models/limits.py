"""Bounds on the arguments of model factories, which may come from a bundle's manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from slfac.wire.errors import ExportError

MAX_WIDTH = 1 << 14
MAX_SIDE = 4096
MAX_PARAMETERS = 1 << 28

Model = TypeVar("Model", bound=nn.Module)


def check_sizes(name: str, values: Any, count: int) -> tuple[int, ...]:
    """Check that an argument is ``count`` whole numbers in 1..16384.

    Args:
        name: The argument's name.
        values: What was given.
        count: How many numbers it must have.

    Returns:
        The numbers.

    Raises:
        ExportError: It is something else.
    """
    if (
        not isinstance(values, list | tuple)
        or len(values) != count
        or not all(_is_int(value) and 1 <= value <= MAX_WIDTH for value in values)
    ):
        raise ExportError(
            f"argument {name} is {values!r}",
            f"give {count} whole number(s) from 1 to {MAX_WIDTH}",
        )
    return tuple(values)


def check_list(name: str, values: Any, most: int) -> tuple[int, ...]:
    """Check that an argument is a list of whole numbers in 1..16384, not empty.

    Args:
        name: The argument's name.
        values: What was given.
        most: How many numbers it may have.

    Returns:
        The numbers.

    Raises:
        ExportError: It is something else.
    """
    if not isinstance(values, list | tuple) or not 1 <= len(values) <= most:
        raise ExportError(f"argument {name} is {values!r}", f"give a list of 1 to {most} numbers")
    return check_sizes(name, values, count=len(values))


def check_image(input_shape: Sequence[int], smallest: int) -> tuple[int, int, int]:
    """Check that an input shape is an image's ``(C, H, W)``.

    Args:
        input_shape: What was given.
        smallest: The least height and width that the model can take.

    Returns:
        Channels, height, width.

    Raises:
        ExportError: It is something else, or a side is out of bounds.
    """
    channels, height, width = check_sizes("input_shape", input_shape, count=3)
    if not all(smallest <= side <= MAX_SIDE for side in (height, width)):
        raise ExportError(
            f"argument input_shape is {channels}x{height}x{width}",
            f"this model takes heights and widths from {smallest} to {MAX_SIDE}",
        )
    return channels, height, width


def check_stemmed_image(
    input_shape: Sequence[int], stem_stride: Any, shrink: int
) -> tuple[int, int, int]:
    """Check an image's shape and the stride of the first convolution.

    At least 2x2 values must be left at the end, so that BatchNorm sees several values of a
    channel even of one sample.

    Args:
        input_shape: ``(C, H, W)`` as given.
        stem_stride: The stride as given, 1 or 2.
        shrink: What all later strides multiply to.

    Returns:
        Channels, height, width.

    Raises:
        ExportError: Either is something else, or the image is too small.
    """
    check_choice("stem_stride", stem_stride, (1, 2))
    return check_image(input_shape, smallest=shrink * stem_stride + 1)


def check_flag(name: str, value: Any) -> None:
    """Check that an argument is true or false.

    Args:
        name: The argument's name.
        value: What was given.

    Raises:
        ExportError: It is something else.
    """
    if not isinstance(value, bool):
        raise ExportError(f"argument {name} is {value!r}", "give true or false")


def check_series(input_shape: Sequence[int], shortest: int) -> tuple[int, int]:
    """Check that an input shape is a time series' ``(C, T)``.

    Args:
        input_shape: What was given.
        shortest: The least length that the model can take.

    Returns:
        Channels, length.

    Raises:
        ExportError: It is something else, or the length is out of bounds.
    """
    channels, length = check_sizes("input_shape", input_shape, count=2)
    if length < shortest:
        raise ExportError(
            f"argument input_shape is {channels}x{length}",
            f"this model takes lengths from {shortest} to {MAX_WIDTH}",
        )
    return channels, length


def check_number(name: str, value: Any, least: float, most: float) -> float:
    """Check that an argument is a number within bounds.

    Args:
        name: The argument's name.
        value: What was given.
        least: The least number allowed.
        most: The greatest number allowed.

    Returns:
        The number.

    Raises:
        ExportError: It is something else.
    """
    is_number = _is_int(value) or isinstance(value, float)
    if not is_number or not least <= value <= most:
        raise ExportError(f"argument {name} is {value!r}", f"give a number from {least} to {most}")
    return float(value)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Check that an argument is one of a few values.

    Args:
        name: The argument's name.
        value: What was given.
        choices: What is allowed, of one type.

    Raises:
        ExportError: It is something else.
    """
    if type(value) is not type(choices[0]) or value not in choices:
        allowed = ", ".join(map(str, choices))
        raise ExportError(f"argument {name} is {value!r}", f"give one of {allowed}")


def make_bounded(make: Callable[[], Model]) -> Model:
    """Make a model after a look at its size, which takes no memory.

    Arguments that are each within bounds can still multiply to more than a machine holds.

    Args:
        make: Makes the model; called twice.

    Returns:
        The model.

    Raises:
        ExportError: It has more than 2**28 parameters, 1 GiB in float32.
    """
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in make().parameters())
    if count > MAX_PARAMETERS:
        raise ExportError(
            f"the model would have {count} parameters",
            f"give smaller arguments: {MAX_PARAMETERS} parameters are the most",
        )
    return make()


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
