"""What SL-FAC and its ablations share: their fields, and everything but the components.

A codec of this family decides which coefficients of a map make its low component; the
transform, the widths, the quantiser and the packing are the same for all.
"""

from __future__ import annotations

import abc
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from slfac.codec.base import Buffer, Codec, StreamKey
from slfac.codec.checks import (
    largest_magnitude,
    require_float32,
    require_magnitude,
    surely_moderate,
)
from slfac.codec.container import Header, write_header
from slfac.codec.maps.dct import forward
from slfac.codec.maps.layout import (
    RANKS,
    MapLayout,
    choose_layout,
    layout_field,
    layout_values,
)
from slfac.codec.slfac.afd import Split
from slfac.codec.slfac.components import Components
from slfac.codec.slfac.fqc import MAX_WIDTH, RULES, choose_widths
from slfac.codec.slfac.quantise import Codes, Levels, fit_levels, quantise
from slfac.codec.spec import Fields, format_spec
from slfac.wire.errors import SettingsError

# A map of 2**20 values of this size has coefficients below 2**114.
MAX_MAGNITUDE = 2.0**103
DEFAULT_RULE = "b"

Frame = TypeVar("Frame", bound="ComponentCodec")


class ComponentCodec(Codec):
    """A codec of two components a map.

    Args:
        theta: What share of its map (of the energy, unless the codec says otherwise) the
            low component holds at least, in (0, 1].
        bmin: Fewest bits a coefficient, from 1.
        bmax: Most bits a coefficient, up to 8.
        rule: How widths follow from energies: ``b``, ``d`` or ``e``, see
            :mod:`slfac.codec.slfac.fqc`.
        layout: What three dimensions are: ``bct`` (time last) or ``btd`` (time second).
    """

    def __init__(
        self,
        theta: float = 0.9,
        bmin: int = 2,
        bmax: int = 8,
        rule: str = DEFAULT_RULE,
        layout: str = "bct",
    ) -> None:
        if bmin > bmax:
            raise SettingsError(
                f"{self.name}: field bmin is {bmin}, above bmax, which is {bmax}",
                "give bmin and bmax in this order",
            )
        self.theta = theta
        self.bmin = bmin
        self.bmax = bmax
        self.rule = rule
        self.layout = layout

    @classmethod
    def from_fields(cls: type[Frame], fields: Fields) -> Frame:
        """Build from a spec such as ``slfac:theta=0.9,bmin=2,bmax=8,rule=b,layout=btd``."""
        codec = cls(
            theta=fields.number("theta", 0.9, low=0.0, high=1.0, above_low=True),
            bmin=fields.integer("bmin", 2, low=1, high=MAX_WIDTH),
            bmax=fields.integer("bmax", 8, low=1, high=MAX_WIDTH),
            rule=fields.word("rule", DEFAULT_RULE, choices=tuple(RULES)),
            layout=layout_field(fields),
        )
        fields.finish()
        return codec

    @property
    def spec(self) -> str:
        """All fields, the layout only where it is not ``bct``."""
        values: dict[str, str | int | float]
        values = {"theta": self.theta, "bmin": self.bmin, "bmax": self.bmax, "rule": self.rule}
        return format_spec(self.name, values | layout_values(self.layout))

    def encode(self, x: np.ndarray, *, key: StreamKey | None = None) -> Buffer:  # noqa: ARG002
        """Encode an array; see :meth:`Codec.encode`."""
        require_float32(x, ranks=RANKS, spec=self.spec)
        if not surely_moderate(x):
            require_magnitude(largest_magnitude(x), MAX_MAGNITUDE, self.name)
        layout = choose_layout(x.shape, time_second=self.layout == "btd")
        return self.encode_coefficients(forward(x, layout), layout)

    def encode_coefficients(self, coefficients: np.ndarray, layout: MapLayout) -> Buffer:
        """Encode an array whose transform is done; equal coefficients give equal bytes.

        Args:
            coefficients: ``(maps, size)`` float32 in scan order, finite, below 2**114.
            layout: How the array divides into maps.

        Returns:
            A payload that starts with the container header.
        """
        head = write_header(Header(self.ident, np.dtype("<f4"), layout.shape))
        return b"".join((head, *self.write_coefficients(coefficients, layout)))

    @abc.abstractmethod
    def write_coefficients(self, coefficients: np.ndarray, layout: MapLayout) -> list[Buffer]:
        """The body of :meth:`encode_coefficients`, in sections."""

    def choose_widths(self, split: Split, size: int) -> npt.NDArray[np.uint8]:
        """Bits a coefficient of each component.

        Args:
            split: The splits of one array's maps; at least one is not all zero.
            size: Values of a map.

        Returns:
            ``(maps, 2)`` uint8, low and high, in ``[bmin, bmax]``.
        """
        return choose_widths(split, size, rule=self.rule, bmin=self.bmin, bmax=self.bmax)

    def quantise(self, coefficients: np.ndarray, split: Split) -> tuple[Components, Levels, Codes]:
        """Quantise maps whose low components come first.

        Args:
            coefficients: ``(maps, size)`` float32; at least one is not zero.
            split: Their splits.

        Returns:
            The segments, their levels, and the codes of all coefficients.
        """
        size = coefficients.shape[1]
        parts = Components.from_splits(split.prefix, size)
        wanted = self.choose_widths(split, size)[parts.present]
        levels = fit_levels(coefficients, parts, wanted)
        return parts, levels, quantise(coefficients, parts, levels)
