"""The tables of docs/calibration.md: what simulated calibrations find, and how often that holds.

``python -m harness.calibration_page`` in tests/ writes them; it takes some minutes.
"""

import re
from pathlib import Path

import numpy as np

from harness import gainsim, radiosim
from slfac.device.profiling.gain import fit_gain

PAGE = Path(__file__).parents[2] / "docs" / "calibration.md"
RADIO_SEEDS = 200
GAIN_SEEDS = 100


def radio_rows():
    """A row a scene: of each figure how often it is resolved, off, and held by its interval."""
    for name, radio in radiosim.SCENES.items():
        found = [radiosim.measured(radio, seed)[0] for seed in range(RADIO_SEEDS)]
        cells = [name]
        for figure, truth in zip(radiosim.FIGURES, radio.truth(), strict=True):
            told = [getattr(one, figure).figure for one in found]
            known = [one for one in told if one is not None]
            off = np.median([abs(one.value / truth - 1) for one in known])
            held = np.mean([one.low <= truth <= one.high for one in known])
            cells += [f"{len(known) / RADIO_SEEDS:.0%}", f"{off:.1%}", f"{held:.0%}"]
        yield cells


def gain_rows():
    """A row a scene: how far gain and offset are off, and how often their intervals hold them."""
    for name, bench in gainsim.SCENES.items():
        found = [fit_gain(*gainsim.climb(bench, s), seed=s) for s in range(GAIN_SEEDS)]
        cells = [name]
        for figure, truth in (("gain", bench.gain), ("offset_w", bench.offset_w)):
            told = [getattr(one, figure) for one in found]
            off = np.median([abs(one.value - truth) for one in told])
            half = np.median([one.high - one.value for one in told])
            held = np.mean([one.low <= truth <= one.high for one in told])
            cells += [f"{off:.4f}", f"{half:.4f}", f"{held:.0%}"]
        yield cells


def with_table(page, name, rows):
    """The page with the rows between a table's marks."""
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    pattern = rf"(<!-- {name}: .*? -->\n(?:\|.*\n){{2}})(?:\|.*\n)*(<!-- end of {name} -->)"
    return re.sub(pattern, lambda match: f"{match[1]}{text}\n{match[2]}", page)


if __name__ == "__main__":
    text = with_table(PAGE.read_text("utf-8"), "radio", radio_rows())
    PAGE.write_text(with_table(text, "gain", gain_rows()), "utf-8")
