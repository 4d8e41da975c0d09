"""The base: Debian's packages as one archive, made once and kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slfac.device.image.build.debs import fetch_debs
from slfac.device.image.build.files import move, sha256_of, workplace
from slfac.device.image.build.lock import Lock, check_lock, read_lock
from slfac.device.image.build.recipe import Recipe
from slfac.device.image.build.repository import make_repository
from slfac.device.image.build.resolve import resolve
from slfac.device.image.build.running import run_lines
from slfac.wire.errors import ImageError

Status = Callable[[str], None]


@dataclass(frozen=True)
class Base:
    """A base.

    Attributes:
        archive: Its archive.
        sha256: Of the archive.
        lock: Exactly what it is made of.
        fresh: Whether it was made just now.
    """

    archive: Path
    sha256: str
    lock: Lock
    fresh: bool

    @property
    def time_s(self) -> int:
        """When it was made, in seconds since 1970; all of an image is said to be as old."""
        return self.lock.time_s


def get_base(
    recipe: Recipe,
    cache: Path,
    *,
    time_s: int,
    lock: Lock | None = None,
    again: bool = False,
    on_status: Status,
) -> Base:
    """Take a base that is kept, or make it.

    Args:
        recipe: What it is made of.
        cache: Where bases and packages are kept.
        time_s: What a new lock takes for the present.
        lock: Make it of exactly these packages; None for those of the lock that is kept, or of
            today.
        again: Make it anew although one is kept; without a lock, of today's packages.
        on_status: Told what goes on.

    Returns:
        The base.

    Raises:
        ImageError: It cannot be made.
    """
    cache.mkdir(parents=True, exist_ok=True)
    # The lock of the last base of this recipe.
    known = cache / f"{recipe.suite}-{recipe.digest[:16]}.lock.json"
    wanted = lock if lock is not None else None if again else _known(known, recipe)
    if wanted is not None and not again:
        archive = _archive(cache, wanted)
        if (sha256 := _kept(archive)) is not None:
            on_status(f"base of {recipe.suite} from {archive}")
            return Base(archive, sha256, wanted, fresh=False)
    if wanted is None:
        on_status("asking the archives which packages there are")
        wanted = resolve(recipe, time_s)
    base = _make(recipe, wanted, cache, on_status)
    if lock is None:
        known.write_bytes(wanted.text())
    return base


def _make(recipe: Recipe, lock: Lock, cache: Path, on_status: Status) -> Base:
    archive = _archive(cache, lock)
    debs = fetch_debs(lock, cache / "packages", on_status=on_status)
    with workplace("slfac-base-") as work:
        sources, target = work / "sources.list", work / "base.tar"
        # The root of a namespace may not be allowed to look into the folder of an installation.
        hooks = Path(shutil.copytree(recipe.hooks, work / "hooks"))
        lines = make_repository(lock, debs, work / "archive")
        sources.write_text("\n".join(lines) + "\n", encoding="utf-8")
        run_lines(
            recipe.command(sources=sources, hooks=hooks, target=target),
            on_line=lambda line: on_status(line[3:]) if line.startswith("I: ") else None,
            env={"SOURCE_DATE_EPOCH": str(lock.time_s), "TMPDIR": str(work)},
        )
        sha256 = sha256_of(target)
        # Only one that is whole gets the name under which it is looked for.
        move(target, archive)
    archive.with_suffix(".sha256").write_text(f"{sha256}\n", encoding="ascii")
    return Base(archive, sha256, lock, fresh=True)


def _archive(cache: Path, lock: Lock) -> Path:
    return cache / f"base-{lock.suite}-{lock.digest[:16]}.tar"


def _known(path: Path, recipe: Recipe) -> Lock | None:
    """The lock that is kept; None if there is none that can be read."""
    try:
        lock = read_lock(path)
        check_lock(lock, recipe, path)
    except ImageError:
        return None
    return lock


def _kept(archive: Path) -> str | None:
    """The sha256 of a base that is kept; None if there is none that is whole."""
    try:
        told = archive.with_suffix(".sha256").read_text("ascii").strip()
        return told if sha256_of(archive) == told else None
    except (OSError, UnicodeDecodeError):
        return None
