"""The figures of a measurement as tables in the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from slfac.testbed.bench.measure import Measurement
from slfac.testbed.bench.tensors import TensorSet
from slfac.testbed.report.terminal import terminal_table
from slfac.testbed.report.units import human_bytes

_COLUMNS = (
    "codec",
    "bytes",
    "bits a\nvalue",
    "ratio",
    "SNR\ndB",
    "encode\ndecode",
    "ms",
    "/ DCT",
    "/ copy",
    "memory",
)
_SUMMARY = (
    "codec",
    "bits a\nvalue",
    "ratio",
    "SNR\ndB",
    "encode\n/ DCT",
    "\nmemory",
    "decode\n/ DCT",
    "\nmemory",
    "/ en-\ntropy",
)


def print_measurements(found: Sequence[Measurement], given: TensorSet, console: Console) -> None:
    """Print one table a tensor, and one over all of them.

    Args:
        found: The figures, tensor by tensor.
        given: The tensors.
        console: Where to print.
    """
    codecs = list(dict.fromkeys(m.codec for m in found))
    names = [codec.partition(":")[0] for codec in codecs]
    # The table over all tensors has room for whole specs.
    short = len(given.tensors) > 1 and len(set(names)) == len(names)
    labels = dict(zip(codecs, names if short else codecs, strict=True))
    for tensor in given.tensors:
        rows = [m for m in found if m.tensor == tensor.name]
        shape = "x".join(map(str, tensor.values.shape))
        title = (
            f"{tensor.name}, {shape}, {human_bytes(tensor.values.nbytes)}: "
            f"DCT {_ms(rows[0].dct_ms)} ms, copy {_ms(rows[0].copy_ms)} ms"
        )
        console.print(_table(title, _COLUMNS, [[labels[m.codec], *_cells(m)] for m in rows]))
    if len(given.tensors) > 1:
        summary = [_summary([m for m in found if m.codec == codec]) for codec in codecs]
        title = f"All {len(given.tensors)} tensors: sums of bytes, medians, largest / entropy"
        console.print(_table(title, _SUMMARY, summary))


def _cells(m: Measurement) -> list[str]:
    return [
        str(m.bytes),
        f"{m.bits_per_value:.2f}",
        f"{m.ratio:.1f}",
        _snr(m.exact, m.snr_db),
        "encode\ndecode",
        f"{_ms(m.encode_ms)}\n{_ms(m.decode_ms)}",
        f"{_times(m.encode_per_dct)}\n{_times(m.decode_per_dct)}",
        f"{_times(m.encode_per_copy)}\n{_times(m.decode_per_copy)}",
        f"{_times(m.encode_memory)}\n{_times(m.decode_memory)}",
    ]


def _summary(found: Sequence[Measurement]) -> list[str]:
    values = sum(8 * m.bytes / m.bits_per_value for m in found)
    total = sum(m.bytes for m in found)
    snrs = [m.snr_db for m in found if m.snr_db is not None]
    coded = [m.over_entropy for m in found if m.over_entropy is not None]
    medians = (
        statistics.median(getattr(m, name) for m in found)
        for name in ("encode_per_dct", "encode_memory", "decode_per_dct", "decode_memory")
    )
    return [
        found[0].codec,
        f"{8 * total / values:.2f}",
        f"{4 * values / total:.1f}",
        _snr(all(m.exact for m in found), statistics.median(snrs) if snrs else None),
        *map(_times, medians),
        f"{max(coded):.3f}" if coded else "-",
    ]


def _snr(exact: bool, value: float | None) -> str:
    if exact:
        return "exact"
    return "-" if value is None else f"{value:.1f}"


def _ms(value: float) -> str:
    """Three significant digits, at most four of them behind the point."""
    decimals = 4 if value < 0.0995 else 3 if value < 0.9995 else 2 if value < 9.995 else 1
    return f"{value:.{decimals}f}"


def _times(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = terminal_table(title, columns, rows, fold=1)
    table.columns[0].min_width = 10
    return table
