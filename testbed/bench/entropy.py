"""How close slfac-rd's entropy coders come to what no coder of the same contexts can beat."""

from __future__ import annotations

import numpy as np

from slfac.codec import Buffer
from slfac.codec.container import read_header
from slfac.codec.rd.body import Body, write_codes
from slfac.codec.rd.codec import RdCodec, read_rd
from slfac.codec.rd.contexts import ContextMap


def over_entropy(payload: Buffer, values: int) -> float | None:
    """Bytes of the coded part over the order-0 entropy of its codes within their contexts.

    The coded part is all that follows the classes: tables and end states, codes and signs. The
    entropy is that of each context's own histogram of signed codes, which a coder would have to
    be told first.

    Args:
        payload: What a codec wrote.
        values: How many values it holds.

    Returns:
        The ratio; None of another codec's payload, or where nothing is coded.
    """
    header, data = read_header(payload, max_values=values)
    if header.ident != RdCodec.ident:
        return None
    read = read_rd(header, data)
    if read is None:
        return None
    body, contexts = read
    entropy_bits = _entropy_bits(body, contexts)
    coded_bytes = sum(map(len, write_codes(body, contexts)))
    return 8 * coded_bytes / entropy_bits if entropy_bits else None


def _entropy_bits(body: Body, contexts: ContextMap) -> float:
    sizes = contexts.sizes
    codes = np.zeros(int(sizes.sum()), np.int64)
    codes[body.coded.places] = body.coded.codes
    context = np.repeat(np.arange(len(sizes)), sizes)
    # One number for each pair of context and code.
    low, span = int(codes.min()), int(np.ptp(codes)) + 1
    counts = np.unique(context * span + (codes - low), return_counts=True)[1]
    used = sizes[sizes > 0]
    return float((used * np.log2(used)).sum() - (counts * np.log2(counts)).sum())
