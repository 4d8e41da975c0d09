"""The runs of a testbed: one, or every combination of what its matrix lists."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from slfac.testbed.inventory.run import server_fields
from slfac.testbed.inventory.yaml_file import Document
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.testbed.inventory.model import Inventory

Matrix = dict[str, Annotated[tuple[Any, ...], Field(min_length=1, max_length=100)]]
_MOST_RUNS: Final = 1000
_SLUG = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True)
class Combination:
    """One run of a matrix.

    Attributes:
        label: What tells it from the others, such as ``codec slfac, seed 0``.
        inventory: The testbed with these settings in ``run``, and without a matrix.
    """

    label: str
    inventory: Inventory

    @property
    def folder(self) -> str:
        """A name for its folder."""
        return _SLUG.sub("-", self.label).strip("-")


def combinations(inventory: Inventory) -> list[Combination]:
    """All runs of a testbed, in the order in which they are carried out.

    Args:
        inventory: The testbed.

    Returns:
        The runs; a lone one, without a label, where there is no matrix.
    """
    if inventory.run is None or not inventory.matrix:
        return [Combination("", inventory)]
    found = []
    for chosen in _chosen(inventory.matrix):
        run = inventory.run.model_copy(update={"settings": {**inventory.run.settings, **chosen}})
        label = ", ".join(f"{name} {value}" for name, value in chosen.items())
        one = inventory.model_copy(update={"run": run, "matrix": {}})
        found.append(Combination(label, one))
    return found


def check_matrix(inventory: Inventory, document: Document) -> None:
    """Check what a matrix varies; each of its runs is checked by the server's rules elsewhere.

    Args:
        inventory: The testbed.
        document: Where it stands.

    Raises:
        SettingsError: A setting is unknown, has one value in ``run`` as well, or a value twice; or
            there are too many runs, or nothing to train.
    """
    given = inventory.run.settings if inventory.run is not None else {}
    for name, values in inventory.matrix.items():
        what = f"{document.at(('matrix', name))}: matrix.{name}"
        if inventory.run is None:
            raise SettingsError(f"{what} varies a run, and there is no `run`", "say what to train")
        if name not in server_fields():
            near = difflib.get_close_matches(name, server_fields(), n=1, cutoff=0.0)[0]
            raise SettingsError(f"{what}: there is no such setting", f"the nearest is {near}")
        if name in given:
            raise SettingsError(f"{what} and run.{name} are both given", "leave one of them out")
        if len(set(map(str, values))) < len(values):
            raise SettingsError(f"{what} is {list(values)}", "give each value once")
    count = 1
    for values in inventory.matrix.values():
        count *= len(values)
    if count > _MOST_RUNS:
        raise SettingsError(
            f"{document.at(('matrix',))}: matrix has {count} runs", f"use at most {_MOST_RUNS}"
        )


def _chosen(matrix: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*matrix.values()):
        yield dict(zip(matrix, values, strict=True))
