"""The base: Debian's packages as one archive, made once and kept."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from slfac.device.image.build.recipe import HOOKS, Recipe
from slfac.device.image.programs import wide_path
from slfac.wire.errors import ImageError

Status = Callable[[str], None]
_LAST_LINES = 6


class _Kept(msgspec.Struct, frozen=True):
    """What lies beside a base that is kept."""

    time_s: int
    sha256: str


@dataclass(frozen=True)
class Base:
    """A base.

    Attributes:
        archive: Its archive.
        sha256: Of the archive.
        time_s: When it was made, in seconds since 1970; all of an image is said to be as old.
        fresh: Whether it was made just now.
    """

    archive: Path
    sha256: str
    time_s: int
    fresh: bool


def get_base(recipe: Recipe, cache: Path, *, time_s: int, again: bool, on_status: Status) -> Base:
    """Take a base that is kept, or make it.

    Args:
        recipe: What it is made of.
        cache: Where bases are kept.
        time_s: What a new one takes for the present.
        again: Make it anew although one is kept.
        on_status: Told what goes on.

    Returns:
        The base.

    Raises:
        ImageError: It cannot be made.
    """
    archive = cache / f"base-{recipe.suite}-{recipe.digest[:16]}.tar"
    beside = archive.with_suffix(".json")
    if not again and (kept := _kept(archive, beside)) is not None:
        on_status(f"base of {recipe.suite} from {archive}")
        return Base(archive, kept.sha256, kept.time_s, fresh=False)
    cache.mkdir(parents=True, exist_ok=True)
    with workplace("slfac-base-") as work:
        _bootstrap(recipe, work, time_s, on_status)
        kept = _Kept(time_s, sha256_of(work / "base.tar"))
        # Only one that is whole gets the name under which it is looked for.
        _move(work / "base.tar", archive)
    beside.write_bytes(msgspec.json.encode(kept))
    return Base(archive, kept.sha256, time_s, fresh=True)


def _bootstrap(recipe: Recipe, work: Path, time_s: int, on_status: Status) -> None:
    sources, target = work / "sources.list", work / "base.tar"
    # The root of a namespace may not be allowed to look into the folder of an installation.
    hooks = Path(shutil.copytree(HOOKS, work / "hooks"))
    sources.write_text("\n".join(recipe.sources) + "\n", encoding="utf-8")
    run_lines(
        recipe.command(sources=sources, hooks=hooks, target=target),
        on_line=lambda line: on_status(line[3:]) if line.startswith("I: ") else None,
        env={
            **os.environ,
            "SOURCE_DATE_EPOCH": str(time_s),
            "TMPDIR": str(work),
            "PATH": wide_path(),
        },
    )


def run_lines(
    command: Sequence[str], *, on_line: Callable[[str], None], env: dict[str, str] | None = None
) -> None:
    """Run a program that says on standard error what it does.

    Args:
        command: The program and its arguments.
        on_line: Told each line.
        env: Its environment; None for this process's.

    Raises:
        ImageError: It failed; with its last lines.
    """
    last: list[str] = []
    with subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=env,
        start_new_session=True,
    ) as process:
        try:
            for line in process.stderr or ():
                last = [*last, line.strip()][-_LAST_LINES:]
                on_line(line.rstrip())
        except BaseException:
            # It has children of its own, in a namespace of their own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode:
        raise ImageError(
            f"{command[0]} failed: {' | '.join(filter(None, last))}",
            "check the network and the free space",
        )


@contextlib.contextmanager
def workplace(prefix: str) -> Iterator[Path]:
    """A folder that the root of a namespace may use too, until the block ends."""
    with tempfile.TemporaryDirectory(
        # What a killed build leaves of other users in it must not hide why it was killed.
        prefix=prefix,
        dir="/var/tmp",
        ignore_cleanup_errors=True,
    ) as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder


def _kept(archive: Path, beside: Path) -> _Kept | None:
    """What is known of a base that is kept; None if there is none that is whole."""
    try:
        kept = msgspec.json.decode(beside.read_bytes(), type=_Kept)
        return kept if sha256_of(archive) == kept.sha256 else None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def sha256_of(path: Path) -> str:
    """A file's sha256, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _move(source: Path, target: Path) -> None:
    """Move a file to where another file system may be, whole or not at all."""
    fresh = target.with_name(f".{target.name}.new")
    with source.open("rb") as reader, fresh.open("wb") as writer:
        while piece := reader.read(1 << 20):
            writer.write(piece)
        os.fsync(writer.fileno())
    fresh.replace(target)
