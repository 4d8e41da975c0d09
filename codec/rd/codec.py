"""slfac-rd: what crosses the cut in as few bytes as its error allows.

The classical optimum instead of the paper's scheme: decorrelate (channels by their principal
directions, planes by the DCT), spread the error evenly (one step size, with a dead zone where a
code costs more than it is worth), and let an entropy coder price every code by its context.
``docs/codec-format-rd.md`` gives the format, and what was measured.
"""

from __future__ import annotations

import numpy as np

from slfac.codec.base import Buffer, Codec, StreamKey
from slfac.codec.checks import largest_magnitude, require_float32
from slfac.codec.container import Header, require_float32_header, write_header
from slfac.codec.maps.layout import (
    RANKS,
    MapLayout,
    choose_layout,
    layout_field,
    layout_values,
)
from slfac.codec.rd.body import Body, read_body, write_zero_body
from slfac.codec.rd.contexts import ContextMap
from slfac.codec.rd.plan import CHANNELS, TRANSFORMS
from slfac.codec.rd.rate import RateController
from slfac.codec.rd.rebuild import rebuild
from slfac.codec.rd.search import MAX_STEP, MIN_STEP
from slfac.codec.rd.tensor import Encodable, Tensor
from slfac.codec.spec import Fields, format_spec
from slfac.wire.errors import SettingsError

_MAX_BYTES = 2.0**31
_MAX_KBPS = 1e7
DEFAULT_STEP = 1.5
CODERS = ("fast", "dense")


class RdCodec(Codec):
    """The codec of this project.

    Args:
        step: Step size, in RMS of the tensor.
        budget_bytes: Instead of ``step``: bytes a tensor, on average.
        kbps: Instead of ``step``: kilobits a second, on average, by the clock.
        transform: ``auto``, ``dct`` or ``none``: what is done to planes.
        channels: ``auto``, ``klt`` or ``none``: what is done to channels.
        layout: What three dimensions are: ``bct`` (time last) or ``btd`` (time second).
        coder: ``fast``, or ``dense``: a few per cent fewer bytes for several times the time.
    """

    name = "slfac-rd"
    ident = 4

    def __init__(
        self,
        step: float = DEFAULT_STEP,
        *,
        budget_bytes: float | None = None,
        kbps: float | None = None,
        transform: str = "auto",
        channels: str = "auto",
        layout: str = "bct",
        coder: str = "fast",
    ) -> None:
        self.step = step
        self.budget_bytes = budget_bytes
        self.kbps = kbps
        self.transform = transform
        self.channels = channels
        self.layout = layout
        self.coder = coder
        self._rate: RateController | None = None
        if budget_bytes is not None or kbps is not None:
            self._rate = RateController(budget_bytes=budget_bytes, kbps=kbps)

    @classmethod
    def from_fields(cls, fields: Fields) -> RdCodec:
        """Build from a spec such as ``slfac-rd:step=2`` or ``slfac-rd:budget=20kB``."""
        given = [key for key in ("step", "budget", "kbps") if fields.has(key)]
        if len(given) > 1:
            raise SettingsError(
                f"slfac-rd: fields {' and '.join(given)} are given",
                "give one of step, budget and kbps",
            )
        codec = cls(
            step=fields.number("step", DEFAULT_STEP, low=MIN_STEP, high=MAX_STEP),
            budget_bytes=fields.size_bytes("budget", low=64, high=_MAX_BYTES),
            kbps=fields.number("kbps", 0.0, low=0.0, high=_MAX_KBPS, above_low=True) or None,
            transform=fields.word("transform", "auto", choices=TRANSFORMS),
            channels=fields.word("channels", "auto", choices=CHANNELS),
            layout=layout_field(fields),
            coder=fields.word("coder", CODERS[0], choices=CODERS),
        )
        fields.finish()
        return codec

    @property
    def spec(self) -> str:
        """The step or what replaces it, and other fields where they are not the default."""
        values: dict[str, str | int | float] = {"step": self.step}
        if self.budget_bytes is not None:
            values = {"budget": self.budget_bytes}
        elif self.kbps is not None:
            values = {"kbps": self.kbps}
        for key, value in (("transform", self.transform), ("channels", self.channels)):
            if value != "auto":
                values[key] = value
        values |= layout_values(self.layout)
        return format_spec(self.name, values | ({"coder": "dense"} if self._dense else {}))

    def encode(self, x: np.ndarray, *, key: StreamKey | None = None) -> Buffer:  # noqa: ARG002
        """Encode an array; see :meth:`Codec.encode`."""
        require_float32(x, ranks=RANKS, spec=self.spec)
        peak = largest_magnitude(x)
        layout = choose_layout(x.shape, time_second=self.layout == "btd")
        several = self._rate is not None
        tensor = Tensor(x, layout, peak, several=several) if peak else None
        return self.encode_tensor(layout, tensor)

    def encode_tensor(self, layout: MapLayout, tensor: Encodable | None) -> Buffer:
        """Encode a tensor, wherever its values are: :meth:`encode` behind its checks.

        Args:
            layout: How it divides into maps.
            tensor: The tensor; None if it is all zero.

        Returns:
            The payload.
        """
        head = write_header(Header(self.ident, np.dtype("<f4"), layout.shape))
        if tensor is None:
            payload = head + write_zero_body(layout)
            return payload if self._rate is None else self._rate.spend(payload)
        if self._rate is None:
            return head + self._encode(tensor, self.step)
        return self._rate.encode(lambda step: head + self._encode(tensor, step))

    @property
    def next_step(self) -> float:
        """Step size at which the next tensor is tried first, in its RMS; exact but for rounding."""
        return self.step if self._rate is None else self._rate.next_step

    def state(self) -> dict[str, float | list[float]]:
        """What the rate controller remembers; see :meth:`Codec.state`."""
        return {} if self._rate is None else self._rate.state()

    def restore(self, state: dict[str, float | list[float]]) -> None:
        """Take back what :meth:`state` gave; see :meth:`Codec.restore`."""
        if self._rate is None:
            super().restore(state)
        else:
            self._rate.restore(state)

    def _encode(self, tensor: Encodable, relative_step: float) -> bytes:
        step = relative_step * tensor.rms
        return tensor.encode(
            step, transform=self.transform, channels=self.channels, dense=self._dense
        )

    @property
    def _dense(self) -> bool:
        return self.coder == "dense"


def decode_rd(header: Header, body: memoryview) -> np.ndarray:
    """Decode the body of an ``slfac-rd`` payload.

    Args:
        header: Its container header.
        body: What follows it.

    Returns:
        A fresh float32 array of the header's shape.

    Raises:
        CodecError: The body is not one that an encoder writes.
    """
    read = read_rd(header, body)
    return np.zeros(header.shape, np.float32) if read is None else rebuild(*read)


def read_rd(header: Header, body: memoryview) -> tuple[Body, ContextMap] | None:
    """Parse and check the body of an ``slfac-rd`` payload; see :func:`decode_rd`.

    Returns:
        The body and its contexts, or None for an array that is all zero.
    """
    require_float32_header(header, RdCodec.name)
    return read_body(body, header.shape)
