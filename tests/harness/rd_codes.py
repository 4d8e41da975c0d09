"""Codes of contexts, as slfac-rd's entropy coders take them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from slfac.codec.rd.stream import MAX_CODE, Coded

some_codes = st.one_of(
    st.just(0), st.integers(-2, 2), st.integers(-40, 40), st.sampled_from([MAX_CODE, -MAX_CODE])
)
sequences = st.lists(st.lists(some_codes, max_size=40), min_size=1, max_size=10)


def coded(rows):
    """Codes of contexts as a coder takes them, and the contexts' sizes."""
    flat = np.array([code for row in rows for code in row], np.int32)
    places = np.flatnonzero(flat)
    return Coded(places, flat[places]), np.array([len(row) for row in rows], np.int64)
