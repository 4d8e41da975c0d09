"""The samples of an experiment: a part to train on, and others to score on."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slfac.data import write_idx_split
from slfac.data.shuffle import permutation
from slfac.testbed.datasets.samples import Samples
from slfac.testbed.write import replace_file
from slfac.wire.errors import DataError, SettingsError

# Every experiment on a data set trains on the same samples: only runs' seeds differ.
_KEY = (10_000, 2026)


@dataclass(frozen=True)
class Drawn:
    """A data set of chosen samples, on disk.

    Attributes:
        path: With train and test split.
        device_data: A data set for each device, where devices have data of their own.
        digest: A hash of all that was chosen.
    """

    path: Path
    device_data: tuple[Path, ...]
    digest: str


def draw(
    samples: Samples,
    out: Path,
    *,
    split: Literal["validation", "test"],
    train_samples: int,
    held_out: int,
    owned_by: int = 0,
) -> Drawn:
    """Write a data set of chosen samples, which are drawn from one fixed order.

    The first ``train_samples`` of that order are trained on. ``validation`` scores on the
    ``held_out`` after them, ``test`` on the whole test set, of which ``validation`` sees nothing.

    Args:
        samples: The whole data set.
        out: Where to write it, to a folder that is named by its samples.
        split: What to score on.
        train_samples: Samples to train on; 0 for all that are not held out.
        held_out: Samples to score on with ``validation``.
        owned_by: Devices that have data of their own, each that of as many persons; 0 for none.

    Returns:
        What was written.

    Raises:
        DataError: The data set has too few samples, or not a label for each.
        SettingsError: Its samples are nobody's, or there are fewer persons than devices.
    """
    count = len(samples.x_train)
    if count != len(samples.y_train):
        raise DataError(
            f"{samples.title} has {count} training samples, but {len(samples.y_train)} labels"
        )
    kept_back = held_out if split == "validation" else 0
    wanted = (train_samples or 1) + kept_back
    if wanted > count:
        raise DataError(
            f"{samples.title} has {count} training samples, {wanted} are wanted",
            "take fewer: train_samples and held_out",
        )
    order = permutation(count, _KEY)
    border = train_samples or count - kept_back
    chosen, scored = order[:border], order[border : border + held_out]
    x_train, y_train = samples.x_train[chosen], samples.y_train[chosen]
    test = (
        (samples.x_train[scored], samples.y_train[scored])
        if split == "validation"
        else (samples.x_test, samples.y_test)
    )
    digest = _digest(x_train, y_train, *test)
    path = _write(out / f"{split}-{digest[:16]}", train=(x_train, y_train), test=test)
    if not owned_by:
        return Drawn(path, (), digest)
    parts = _parts_of_owners(samples, chosen, owned_by)
    device_data = tuple(
        _write(
            out / f"{split}-{digest[:16]}-{index + 1}of{owned_by}",
            train=(x_train[part], y_train[part]),
        )
        for index, part in enumerate(parts)
    )
    return Drawn(path, device_data, _digest(*parts, np.frombuffer(digest.encode(), np.uint8)))


def _parts_of_owners(samples: Samples, chosen: np.ndarray, devices: int) -> list[np.ndarray]:
    """Which of the chosen samples each device has: those of neighbouring persons."""
    if samples.owners is None:
        raise SettingsError(
            f"setting partition is 'own', but nobody owns the samples of {samples.title}",
            "use iid or dirichlet:beta=0.5",
        )
    people = np.unique(samples.owners)
    if devices > len(people):
        raise SettingsError(
            f"setting devices is {devices}, but {samples.title} has {len(people)} persons",
            "use fewer devices, or partition iid",
        )
    mine = samples.owners[chosen]
    return [np.flatnonzero(np.isin(mine, group)) for group in np.array_split(people, devices)]


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write(path: Path, **splits: tuple[np.ndarray, np.ndarray]) -> Path:
    """An IDX folder of grey images, or an NPZ archive of anything else."""
    if next(iter(splits.values()))[0].ndim == 3 and _is_idx(splits):
        for name, (x, y) in splits.items():
            write_idx_split(path, name, x, y)
        return path
    archive = path.with_suffix(".npz")
    target = io.BytesIO()
    arrays: dict[str, Any] = {}
    for name, (x, y) in splits.items():
        arrays |= {f"x_{name}": x, f"y_{name}": y}
    np.savez(target, **arrays)
    replace_file(archive, target.getvalue())
    return archive


def _is_idx(splits: dict[str, tuple[np.ndarray, np.ndarray]]) -> bool:
    return all(x.dtype.kind in "ui" for x, _ in splits.values())
