"""Measures every codec on every tensor, shows the figures and writes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from slfac.codec import codec_names, make_codec
from slfac.testbed.bench.measure import Measurement, measure
from slfac.testbed.bench.progress import moving_bar
from slfac.testbed.bench.result import now, write_measurements
from slfac.testbed.bench.table import print_measurements
from slfac.testbed.bench.tensors import FIXTURE, load_tensors
from slfac.wire.errors import SettingsError

_MAX_REPEAT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What to measure.

    Attributes:
        codecs: Their specs; none takes every codec with its default fields.
        tensors: A ``.npz`` file or a folder of them; None takes those that come with slfac.
        repeat: How many timings to take the best of.
        json: File to write all figures to; None for none.
        command: The command line, for that file.
    """

    codecs: tuple[str, ...] = ()
    tensors: Path | None = None
    repeat: int = 7
    json: Path | None = None
    command: str = ""


def run_bench(settings: BenchSettings, console: Console) -> list[Measurement]:
    """Measure, print tables, and write the JSON file.

    Times are those of one thread only if the libraries' thread limits were set before they
    were imported, as the command does.

    Args:
        settings: What to measure.
        console: Where to show it.

    Returns:
        The figures, tensor by tensor.

    Raises:
        SettingsError: A setting is out of range.
        DataError: The tensors cannot be read.
        CodecError: A codec cannot take a tensor.
        RunError: The JSON file cannot be written.
    """
    if not 1 <= settings.repeat <= _MAX_REPEAT:
        raise SettingsError(f"setting repeat is {settings.repeat}", f"use 1 to {_MAX_REPEAT}")
    specs = [make_codec(spec).spec for spec in settings.codecs or codec_names()]
    if len(set(specs)) < len(specs):
        raise SettingsError(f"setting codecs is {','.join(specs)}", "give each codec once")
    date = now()
    given = load_tensors(settings.tensors or FIXTURE)
    found: list[Measurement] = []
    total = len(given.tensors) * settings.repeat
    with moving_bar(console, "bench", total=total) as advance:
        for tensor in given.tensors:
            on_turn = partial(advance, tensor.name)
            found += measure(specs, tensor, repeat=settings.repeat, on_turn=on_turn)
    print_measurements(found, given, console)
    facts = {
        "threads": 1,
        "repeat": settings.repeat,
        "sources": given.sources,
        "tensors": [
            {"name": t.name, "shape": t.values.shape, "float32_bytes": t.values.nbytes}
            for t in given.tensors
        ],
    }
    figures = [_rounded(msgspec.to_builtins(m)) for m in found]
    write_measurements(settings, figures, date=date, facts=facts, console=console)
    return found


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """Floats to six significant digits, more than any timing has."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in figures.items()
    }
