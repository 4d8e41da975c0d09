"""Replies to steps, kept on disk until their device has taken down what it made of them.

A device that was killed makes the steps of its round again and must get the same gradients.
The bodies of a round's replies to one device lie one behind the other in a file; where each
begins is held in memory, and goes into the checkpoint with the file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from slfac.wire.errors import BundleError, TrainingError
from slfac.wire.transfer import Frames, address_frames

FOLDER = "kept"
_FILES = "d*-r*.bin"


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a reply lies.

    Attributes:
        step: The device's step.
        heads: Header frame of each message.
        sizes: Bytes of each message's body.
        offset: Where the first body begins.
        crc: CRC-32 of the bodies.
        part: Part of the step.
    """

    step: int
    heads: tuple[bytes, ...]
    sizes: tuple[int, ...]
    offset: int
    crc: int
    part: int = 0


class KeptReplies:
    """What each device was answered in its present round and the one before.

    Args:
        folder: Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._places: dict[tuple[int, int], dict[tuple[int, int], Place]] = {}
        self._ends: dict[tuple[int, int], int] = {}

    def keep(self, index: int, round_: int, step: int, frames: Frames, *, part: int = 0) -> None:
        """Write a reply down.

        Args:
            index: The device.
            round_: The round.
            step: The device's step.
            frames: The reply's messages.
            part: Part of the step.

        Raises:
            TrainingError: It cannot be written.
        """
        key = index, round_
        bodies = [bytes(body) for _, body in frames]
        data = b"".join(bodies)
        offset = self._ends.get(key, 0)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._path(*key).open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(data)
        except OSError as error:
            raise TrainingError(
                f"cannot write {self._path(*key)}: {error.strerror}", "free some space"
            ) from error
        heads, sizes = tuple(head for head, _ in frames), tuple(map(len, bodies))
        place = Place(step, heads, sizes, offset, zlib.crc32(data), part)
        self._places.setdefault(key, {})[step, part] = place
        self._ends[key] = offset + len(data)

    def find(
        self, index: int, round_: int, step: int, session: int, seq: int, *, part: int = 0
    ) -> Frames | None:
        """The reply to a part of a step that was trained already.

        Args:
            index: The device.
            round_: The round.
            step: The device's step.
            session: The session that asks now.
            seq: The number of its request.
            part: Part of the step.

        Returns:
            The same payload, addressed anew; None where there is none.

        Raises:
            TrainingError: It cannot be read any more.
        """
        place = self._places.get((index, round_), {}).get((step, part))
        if place is None:
            return None
        path = self._path(index, round_)
        try:
            with path.open("rb") as file:
                data = _bodies(file, place)
        except OSError as error:
            raise TrainingError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            remedy = "resume from the checkpoint before"
            raise TrainingError(f"{path} {error}", remedy) from error
        bodies, start = [], 0
        for size in place.sizes:
            bodies.append(data[start : start + size])
            start += size
        return address_frames(
            tuple(zip(place.heads, bodies, strict=True)), session=session, seq=seq
        )

    def has(self, index: int, round_: int) -> bool:
        """Whether a device was answered in a round, and that is still held."""
        return (index, round_) in self._places

    def begun(self, round_: int) -> bool:
        """Whether any device was answered in a round."""
        return any(key[1] == round_ for key in self._places)

    def confirm(self, index: int, round_: int) -> None:
        """Drop what a device no longer needs: it has taken down the beginning of a round.

        Args:
            index: The device.
            round_: That round.
        """
        for key in [key for key in self._places if key[0] == index and key[1] < round_]:
            del self._places[key]
            del self._ends[key]
            with contextlib.suppress(OSError):
                self._path(*key).unlink()

    def forget(self, index: int) -> None:
        """Drop everything of a device that is out of the run."""
        self.confirm(index, 1 << 62)

    def clear(self) -> None:
        """Drop everything: the run is over."""
        self._places.clear()
        self._ends.clear()
        # Not the whole tree: other files may lie in a folder of this name.
        with contextlib.suppress(OSError):
            for path in self._folder.glob(_FILES):
                path.unlink(missing_ok=True)
            self._folder.rmdir()

    def seal(self, round_: int, folder: Path) -> dict[str, list[Place]]:
        """Put a finished round's replies into a checkpoint.

        Args:
            round_: The round.
            folder: The checkpoint's folder.

        Returns:
            File name -> what lies in it.

        Raises:
            OSError: A file cannot be put there.
        """
        sealed: dict[str, list[Place]] = {}
        for (index, of), places in self._places.items():
            if of != round_:
                continue
            source = self._path(index, of)
            with source.open("rb") as file:
                os.fsync(file.fileno())
            # Nothing is added to it any more, and a link costs no bytes where links exist.
            try:
                os.link(source, folder / source.name)
            except OSError:
                _copy(source, folder / source.name)
            sealed[source.name] = list(places.values())
        return sealed

    def adopt(self, folder: Path, sealed: Mapping[str, Sequence[Place]]) -> None:
        """Begin with what a checkpoint holds, and nothing else.

        Args:
            folder: The checkpoint's folder.
            sealed: What :meth:`seal` gave.

        Raises:
            BundleError: A file is missing or damaged.
        """
        self.clear()
        for name, places in sealed.items():
            index, round_ = (int(part[1:]) for part in name.partition(".")[0].split("-"))
            end = max((place.offset + sum(place.sizes) for place in places), default=0)
            source = folder / name
            try:
                check_sealed(source, places)
                self._folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, self._path(index, round_))
            except OSError as error:
                raise BundleError(f"cannot read {source}: {error.strerror}") from error
            except ValueError as error:
                raise BundleError(f"{source}: {error}") from error
            found = {(place.step, place.part): place for place in places}
            self._places[index, round_] = found
            self._ends[index, round_] = end

    def _path(self, index: int, round_: int) -> Path:
        return self._folder / f"d{index:04d}-r{round_:06d}.bin"


def check_sealed(path: Path, places: Sequence[Place]) -> None:
    """Check a file of replies against its sums.

    Args:
        path: The file.
        places: What lies in it.

    Raises:
        OSError: It cannot be read.
        ValueError: It is cut short or damaged.
    """
    with path.open("rb") as file:
        for place in places:
            try:
                _bodies(file, place)
            except ValueError as error:
                raise ValueError(f"{path.name} {error}") from error


def _bodies(file: BinaryIO, place: Place) -> bytes:
    file.seek(place.offset)
    data = file.read(sum(place.sizes))
    if len(data) < sum(place.sizes):
        raise ValueError("is cut short")
    if zlib.crc32(data) != place.crc:
        raise ValueError("is damaged")
    return data


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
