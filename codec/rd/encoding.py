"""From transformed coefficients to the body of a payload."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from slfac.codec.maps.layout import MapLayout
from slfac.codec.rd.body import Body, write_body
from slfac.codec.rd.contexts import Classes, ContextMap
from slfac.codec.rd.deadzone import drop_dear_ones, quantise, reconstruction_offsets
from slfac.codec.rd.frame import frame_shape
from slfac.codec.rd.plan import BITS_AN_ENTRY, Plan
from slfac.codec.rd.planes import groups
from slfac.codec.rd.sparse import Sparse
from slfac.codec.rd.stream import Coded
from slfac.codec.unary import place_type

Floats = npt.NDArray[np.float32]

_MAX_INT8 = 127


def encode_coefficients(
    coefficients: Iterable[Floats],
    plan: Plan,
    layout: MapLayout,
    *,
    exponent: int,
    step: float,
    limits: tuple[float, float],
    dense: bool = False,
) -> bytes:
    """Encode an array whose transforms are done; equal coefficients give equal bytes.

    Args:
        coefficients: ``(samples * components, H * W)`` float32, in blocks of whole samples.
        plan: The transforms.
        layout: How the array divides into maps.
        exponent: Power of two that the array was divided by.
        step: Step size; rounded to float32.
        limits: Smallest and largest value of the array that was transformed.
        dense: Whether to code them by the denser of two coders.

    Returns:
        The body of a payload.
    """
    return encode_sparse(
        quantise(coefficients, step),
        plan,
        layout,
        exponent=exponent,
        step=step,
        limits=limits,
        dense=dense,
    )


def encode_sparse(
    sparse: Sparse,
    plan: Plan,
    layout: MapLayout,
    *,
    exponent: int,
    step: float,
    limits: tuple[float, float],
    dense: bool = False,
) -> bytes:
    """Encode what of an array's coefficients lies beyond the dead zone.

    Args:
        sparse: What :func:`quantise` finds.
        plan: The transforms.
        layout: How the array divides into maps.
        exponent: Power of two that the array was divided by.
        step: Step size; rounded to float32.
        limits: Smallest and largest value of the array that was transformed.
        dense: Whether to code them by the denser of two coders.

    Returns:
        The body of a payload.
    """
    samples, _, height, width = frame_shape(layout)
    group_of = groups(height, width, dct=plan.dct)
    classes = Classes.of(sparse.by_map, sparse.positions, group_of, samples)
    sparse, saved_bits = drop_dear_ones(sparse, ContextMap(classes, group_of))
    basis = plan.basis
    if basis is not None:
        components, channels = basis.entries.shape
        gains = saved_bits.reshape(samples, -1).sum(axis=0) - BITS_AN_ENTRY * channels
        # Components come by falling energy; the last ones may not be worth their directions.
        used = int(np.argmax(np.cumsum(gains))) + 1
        if used < components:
            sparse = sparse.within(np.tile(np.arange(components) < used, samples))
            basis = basis.first(used)
    classes = Classes.of(sparse.by_map, sparse.positions, group_of, samples)
    contexts = ContextMap(classes, group_of)
    body = Body(
        layout=layout,
        dct=plan.dct,
        basis=basis,
        exponent=exponent,
        step=float(np.float32(step)),
        limits=limits,
        offsets=reconstruction_offsets(sparse),
        classes=classes,
        coded=_in_order(sparse, contexts),
        dense=dense,
    )
    del sparse
    return b"".join(write_body(body, contexts))


def _in_order(sparse: Sparse, contexts: ContextMap) -> Coded:
    # Scattering among all coefficients takes half the time of sorting the places.
    highest, lowest = sparse.ratios.max(initial=0), sparse.ratios.min(initial=0)
    narrow = np.int8 if max(highest, -lowest) < _MAX_INT8 else np.int32
    dense = np.zeros(int(contexts.sizes.sum()), narrow)
    for maps, part in sparse.parts():
        dense[contexts.places(maps, part.by_map, part.positions)] = part.codes()
    places = np.flatnonzero(dense != 0)
    codes = dense.take(places)
    return Coded(places.astype(place_type(len(dense))), codes)
