"""The lock of a base: exactly which packages it is made of, and where they were found."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from slfac import __version__
from slfac.device.image.build.recipe import Recipe
from slfac.device.image.description import Sha256
from slfac.device.image.layer.wheels import lock_file
from slfac.wire.errors import ImageError

SCHEMA = 1
_MOST_BYTES = 4 << 20
# A lock may come from somebody else: nothing in it leads out of a folder or of an archive.
_Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]*\Z", max_length=200)]
_Version = Annotated[str, Meta(pattern=r"^[A-Za-z0-9.+~:-]+\Z", max_length=200)]
_Url = Annotated[str, Meta(pattern=r"^https?://[^\s?#]+\Z", max_length=500)]
_Place = Annotated[
    str, Meta(pattern=r"^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9%+._~:/-]*\Z", max_length=500)
]


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """An archive that packages came from, as it was then.

    Attributes:
        url: Its address.
        suite: Such as ``trixie-backports``.
        date: What its InRelease says of itself; empty where there is none.
        inrelease_sha256: Of that file; empty where there is none.
    """

    url: _Url
    suite: str
    date: str = ""
    inrelease_sha256: str = ""


class Package(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A package.

    Attributes:
        name: Its name.
        version: Its version.
        architecture: ``arm64`` or ``all``.
        sha256: Of its ``.deb``.
        size_bytes: Of its ``.deb``.
        url: The archive's address.
        path: Where in the archive it is.
    """

    name: _Name
    version: _Version
    architecture: _Name
    sha256: Sha256
    size_bytes: Annotated[int, Meta(gt=0, le=1 << 32)]
    url: _Url
    path: _Place

    @property
    def title(self) -> str:
        """How it is called in messages."""
        return f"{self.name} {self.version} ({self.architecture})"


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly what a base is made of.

    Attributes:
        schema: Version of this structure.
        slfac: The release that wrote it.
        suite: The release of Debian.
        time_s: What the base takes for the present, in seconds since 1970: ``SOURCE_DATE_EPOCH``.
        recipe: Digest of the recipe, with its hooks.
        wheels_sha256: Of the lock of the layer's wheels.
        archives: Where packages came from.
        packages: The packages, sorted.
    """

    schema: int = SCHEMA
    slfac: str = __version__
    suite: str
    time_s: Annotated[int, Meta(ge=0, lt=10**11)]
    recipe: Sha256
    wheels_sha256: Sha256
    archives: tuple[Archive, ...]
    packages: Annotated[tuple[Package, ...], Meta(min_length=1)]

    @property
    def digest(self) -> str:
        """Another one for another base, wherever the packages came from."""
        told = [(p.name, p.version, p.architecture, p.sha256) for p in sorted(self.packages)]
        return hashlib.sha256(f"{self.recipe} {self.time_s} {told}".encode()).hexdigest()

    def text(self) -> bytes:
        """The file's content; the same lock gives the same bytes."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def wheels_sha256(recipe: Recipe) -> str:
    """Sha256 of the lock of a layer's wheels.

    Args:
        recipe: Whose.
    """
    return hashlib.sha256(lock_file(recipe.abi).read_bytes()).hexdigest()


def read_lock(path: Path) -> Lock:
    """Read a lock.

    Args:
        path: The file.

    Returns:
        What it says.

    Raises:
        ImageError: It cannot be read, or is none.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}", "check the path") from error
    try:
        if len(data) > _MOST_BYTES:
            raise msgspec.ValidationError("it is too long")
        lock = msgspec.json.decode(data, type=Lock)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(
            f"{path} is no lock of an image: {error}", "name the .lock.json beside an image"
        ) from error
    if lock.schema != SCHEMA:
        raise ImageError(
            f"{path} is of schema {lock.schema}, this release reads {SCHEMA}",
            f"build with slfac {lock.slfac}",
        )
    return lock


def check_lock(lock: Lock, recipe: Recipe, path: Path) -> None:
    """Refuse a lock that would not give the same image.

    Args:
        lock: The lock.
        recipe: What this release makes bases of.
        path: Where it was read from.

    Raises:
        ImageError: It was written for another recipe or for other wheels.
    """
    if (lock.recipe, lock.wheels_sha256) != (recipe.digest, wheels_sha256(recipe)):
        raise ImageError(
            f"{path} was made by slfac {lock.slfac} for other steps or wheels than this one has",
            "build with that release, or without --lock",
        )
