"""What a device is at the beginning of a round, on disk, so that it can begin the round again.

``JOURNAL/DEVICE/RUN/round-000003.safetensors`` holds the front, the optimiser's state and, in its
metadata, as JSON the place in the data, the steps made and what each codec remembers, and a sum of
it all, which tells a worn memory card's entries. It is written under another name, synced, and
renamed; the two newest are kept, for a server that was started again may have to go back to its
checkpoint before the last. Servers choose the names, so what is kept in all is bounded.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import safetensors
import safetensors.numpy

from slfac.codec.base import State as CodecState
from slfac.wire.bundle import State
from slfac.wire.errors import ProtocolError

_KEEP = 2
_KEEP_RUNS = 4
# Under all names: a server might call this device by ever new ones.
_KEEP_IN_ALL = 64
# What the server says becomes part of a path.
_SAFE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_KEY, _SUM = "slfac", "crc32"
_ENTRIES, _FRESH = "round-*.safetensors", "fresh"
_FRONT, _OPTIMIZER = "front/", "optimizer/"
_UNUSABLE = (OSError, ValueError, LookupError, safetensors.SafetensorError, msgspec.MsgspecError)
_log = logging.getLogger(__name__)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a device stands, but for its tensors.

    Attributes:
        bundle: Id of the bundle.
        optimizer: Spec of the optimiser.
        round: The round that begins.
        step: Steps made since the device joined.
        data: Where the stream of batches stands.
        codecs: What each smashed tensor's codec remembers.
    """

    bundle: str
    optimizer: str
    round: int
    step: int
    data: dict[str, int]
    codecs: list[CodecState]


class Entry(msgspec.Struct, frozen=True):
    """The beginning of a round.

    Attributes:
        place: Where the device stands.
        front: Its front.
        optimizer: Its optimiser's state.
    """

    place: Place
    front: State
    optimizer: Mapping[str, np.ndarray]


class Journal:
    """The entries of one device in one run.

    Args:
        folder: Where journals are kept.
        run: Id of the run.
        device: Name of the device in it.
        bundle: Id of the bundle; entries of another are passed over.
        optimizer: Spec of the optimiser; likewise.

    Raises:
        ProtocolError: The server's names are none.
    """

    def __init__(self, folder: Path, run: str, device: str, bundle: str, optimizer: str) -> None:
        if not (_SAFE.match(run) and _SAFE.match(device)):
            raise ProtocolError(f"the server calls this device {device!r} and its run {run!r}")
        self._folder = folder / device / run
        self._of = bundle, optimizer

    def write(self, entry: Entry) -> None:
        """Take down the beginning of a round.

        Args:
            entry: It.

        Raises:
            OSError: It cannot be written.
        """
        tensors = {f"{_FRONT}{name}": array for name, array in entry.front.items()}
        tensors |= {f"{_OPTIMIZER}{name}": array for name, array in entry.optimizer.items()}
        tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
        place = msgspec.json.encode(entry.place).decode()
        about = {_KEY: place, _SUM: _sum(place, tensors)}
        data = safetensors.numpy.save(tensors, metadata=about)
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / _FRESH
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path(entry.place.round))
        _sync(self._folder)
        newest = sorted(self._folder.glob(_ENTRIES))
        # Those of later rounds are from before the server went back.
        ours = [path for path in newest if path <= self._path(entry.place.round)]
        for path in {*newest} - {*ours[-_KEEP:]}:
            path.unlink(missing_ok=True)

    def read(self, round_: int | None = None) -> Entry | None:
        """The newest entry, or that of one round.

        Args:
            round_: The round; None for the newest.

        Returns:
            The entry; None where there is none that can be used, which is logged.
        """
        for path in sorted(self._folder.glob(_ENTRIES), reverse=True):
            try:
                entry = _read(path)
            except _UNUSABLE as error:
                _log.warning("journal %s cannot be used: %s", path, error)
                continue
            ours = (entry.place.bundle, entry.place.optimizer) == self._of
            if ours and round_ in {None, entry.place.round}:
                return entry
        return None

    def clear(self) -> None:
        """Drop the entries: the run is over for this device."""
        _drop(self._folder)

    def clear_old(self) -> None:
        """Drop what this device kept of other runs, but for the newest few.

        What is kept under other names may be that of other devices on this machine: of all
        names together, the newest 64 runs stay.
        """
        root = self._folder.parent.parent
        runs = {path.parent for path in root.glob(f"*/*/{_ENTRIES}")} - {self._folder}
        newest = sorted(runs, key=_changed_s, reverse=True)
        own = [path for path in newest if path.parent == self._folder.parent]
        for folder in own[_KEEP_RUNS - 1 :] + newest[_KEEP_IN_ALL - 1 :]:
            _drop(folder)

    def _path(self, round_: int) -> Path:
        return self._folder / f"round-{round_:06d}.safetensors"


def _read(path: Path) -> Entry:
    data = path.read_bytes()
    tensors = safetensors.numpy.load(data)
    with safetensors.safe_open(path, framework="numpy") as file:
        about = file.metadata() or {}
    if about[_SUM] != _sum(about[_KEY], tensors):
        raise ValueError("it is damaged")
    place = msgspec.json.decode(about[_KEY], type=Place)

    def under(prefix: str) -> State:
        return {
            name.removeprefix(prefix): array
            for name, array in tensors.items()
            if name.startswith(prefix)
        }

    return Entry(place, under(_FRONT), under(_OPTIMIZER))


def _sum(place: str, tensors: Mapping[str, np.ndarray]) -> str:
    total = zlib.crc32(place.encode())
    for name, array in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(array.tobytes(), total)
    return f"{total:08x}"


def _drop(folder: Path) -> None:
    # Not the whole tree: the server names it, and other files may lie there.
    with contextlib.suppress(OSError):
        for path in [*folder.glob(_ENTRIES), folder / _FRESH]:
            path.unlink(missing_ok=True)
        folder.rmdir()
        folder.parent.rmdir()


def _changed_s(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        # Another process has just dropped it.
        return 0.0


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some file systems cannot sync a folder; the file itself is synced.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
