"""The table of docs/models.md says what the factories take."""

import inspect
import json
import re
from pathlib import Path

import pytest

from slfac.export import models

PAGE = (Path(__file__).parents[3] / "docs" / "models.md").read_text("utf-8")
TABLES = [part.strip() for part in PAGE.split("\n\n") if part.startswith("|")]
ROWS, SMALL_ROWS, SOURCES = (
    [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]
    for table in TABLES
)


def test_every_model_has_its_rows():
    names = [f"`{name}`" for name in models.__all__]
    assert [row[0] for row in ROWS] == names
    assert [row[0] for row in SOURCES] == names


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_options_and_defaults(row):
    given = inspect.signature(getattr(models, row[0].strip("`"))).parameters.values()
    options = {p.name: p.default for p in given if p.default is not inspect.Parameter.empty}
    told = dict(re.findall(r"`(\w+)` \(`?([^)`]*)`?\)", row[1]))
    assert list(told) == list(options)
    for name, text in told.items():
        if options[name] is None:
            continue
        value = list(options[name]) if isinstance(options[name], tuple) else options[name]
        assert text == (value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_parameters(row):
    name = row[0].strip("`")
    classes, shape = 1000, "3x224x224"
    if found := re.search(r"for (\d+) classes of ([\dx]+)", row[2]):
        classes, shape = int(found[1]), found[2]
    options = {"stem": "imagenet"} if name == "resnet18" else {}
    model = getattr(models, name)(
        num_classes=classes, input_shape=tuple(map(int, shape.split("x"))), **options
    )
    count = sum(parameter.numel() for parameter in model.parameters())
    assert row[2].split()[0] == f"{count:,}"


@pytest.mark.parametrize("row", SMALL_ROWS, ids=lambda row: row[0].strip("`"))
def test_options_for_small_images(row):
    for name in re.findall(r"`(\w+)`", row[0]):
        options = json.loads(row[1].strip("`| "))
        assert getattr(models, name)(num_classes=10, input_shape=(3, 32, 32), **options)
