"""Thread counts of numeric libraries, which read them only when they are first imported."""

from __future__ import annotations

import os


def limit_threads(blas: int, openmp: int | None = None) -> None:
    """Set how many threads NumPy's BLAS and OpenMP may use, unless the user has.

    Several threads that spin while they wait cost a multiple of the time where cores are
    few or shared; left alone, OpenBLAS takes one a core.

    Args:
        blas: Threads of NumPy's matrix products.
        openmp: Threads of OpenMP; None leaves them alone.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(blas))
    if openmp is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(openmp))
