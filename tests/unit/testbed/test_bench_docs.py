"""What docs/bench.md shows is what the committed result holds."""

import io
import json
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from slfac.testbed.bench.measure import Measurement
from slfac.testbed.bench.overlap import OverlapMeasurement
from slfac.testbed.bench.overlap_table import print_overlap
from slfac.testbed.bench.table import print_measurements
from slfac.testbed.bench.tensors import NamedTensor, TensorSet

DOCS = Path(__file__).parents[3] / "docs"
TENSOR = "cnn-pool2-step300-smashed"
CODECS = ("none", "fp16", "slfac", "slfac-rd")


def test_the_table_in_the_docs_is_that_of_the_result():
    result = json.loads((DOCS / "results" / "codec-bench.json").read_text())
    found = [msgspec.convert(entry, Measurement) for entry in result["measurements"]]
    tensors = [
        NamedTensor(tensor["name"], np.zeros(tensor["shape"], np.float32))
        for tensor in result["tensors"]
        if tensor["name"] == TENSOR
    ]
    short = [e for e in found if e.tensor == TENSOR and e.codec.partition(":")[0] in CODECS]
    text = io.StringIO()
    print_measurements(short, TensorSet(tuple(tensors), sources=()), Console(file=text, width=110))
    lines = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
    shown = (DOCS / "bench.md").read_text().split("```text\n")[1].split("```")[0]
    assert [line.rstrip() for line in shown.splitlines() if line.strip()] == lines


def test_the_table_of_steps_in_parts_is_that_of_its_result():
    result = json.loads((DOCS / "results" / "overlap.json").read_text())
    found = [msgspec.convert(entry, OverlapMeasurement) for entry in result["measurements"]]
    text = io.StringIO()
    print_overlap(found, Console(file=text, width=110))
    lines = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
    section = (DOCS / "bench.md").read_text().split("# Measuring overlap")[1]
    shown = section.split("```text\n")[1].split("```")[0]
    assert [line.rstrip() for line in shown.splitlines() if line.strip()] == lines


def test_a_slow_link_is_used_as_well_as_the_formula_says():
    result = json.loads((DOCS / "results" / "overlap.json").read_text())
    found = [msgspec.convert(entry, OverlapMeasurement) for entry in result["measurements"]]
    slow = [m for m in found if m.link == "2Mbit" and m.micro_batches in {2, 4}]
    assert len(slow) == 2
    for m in slow:
        assert m.ratio <= 1.1
        assert m.gain >= 1.2
