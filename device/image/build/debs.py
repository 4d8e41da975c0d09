"""Fetches exactly the packages that a lock names, and keeps them."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import quote

from slfac.device.image.build.files import NO_SPACE, sha256_of
from slfac.device.image.build.lock import Lock, Package
from slfac.wire.errors import ImageError

Status = Callable[[str], None]
#: Debian's memory: every package that ever was. https://snapshot.debian.org/
SNAPSHOT = "https://snapshot.debian.org"
_AT_ONCE = 4
_TRIES = 3
_PAUSE_S = 1.0
_TIMEOUT_S = 30.0
_PIECE = 1 << 18
_MOST_TOLD = 1 << 20
_SHARE = 10


class _NotThereError(Exception):
    """An address does not have it."""


def fetch_debs(
    lock: Lock, folder: Path, *, on_status: Status, snapshot: str = SNAPSHOT
) -> list[tuple[Package, Path]]:
    """Get the packages of a lock.

    Args:
        lock: The lock.
        folder: Where they are kept, each under its sha256.
        on_status: Told what goes on.
        snapshot: Where packages are that archives have no more.

    Returns:
        Each package with its file.

    Raises:
        ImageError: A package can be had nowhere, or is not what the lock says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = [(package, folder / f"{package.sha256}.deb") for package in lock.packages]
    missing = [(package, path) for package, path in places if not _is_kept(package, path)]
    if missing:
        size = sum(package.size_bytes for package, _ in missing)
        on_status(f"fetching {len(missing)} of {len(places)} packages, {size / 1e6:.0f} MB")
        _fetch_all(missing, snapshot, on_status)
    return places


def _fetch_all(missing: Sequence[tuple[Package, Path]], snapshot: str, on_status: Status) -> None:
    total, stop = sum(package.size_bytes for package, _ in missing), threading.Event()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sizes = {
            pool.submit(_Fetching(package, path, stop).run, snapshot): package.size_bytes
            for package, path in missing
        }
        try:
            done = told = 0
            for future in as_completed(sizes):
                future.result()
                done += sizes[future]
                if done * _SHARE // total > told:
                    told = done * _SHARE // total
                    on_status(f"fetched {done / 1e6:.0f} of {total / 1e6:.0f} MB")
        finally:
            # Also where one has failed or Ctrl-C was pressed: the others end with their piece.
            stop.set()
            pool.shutdown(cancel_futures=True)


def _is_kept(package: Package, path: Path) -> bool:
    try:
        return sha256_of(path) == package.sha256
    except OSError:
        return False


class _Fetching:
    """A package on its way."""

    def __init__(self, package: Package, path: Path, stop: threading.Event) -> None:
        self._package = package
        self._path = path
        self._stop = stop

    def run(self, snapshot: str) -> None:
        package, failed = self._package, []
        for place in ("", snapshot):
            try:
                direct = f"{package.url}/{package.path}"
                self._try(self._remembered(place) if place else direct)
            except _NotThereError as error:
                failed.append(str(error))
            else:
                return
            if self._stop.is_set():
                return
        raise ImageError(
            f"the package {package.title} cannot be had: {'; '.join(failed)}",
            "check the network; what no archive has any more needs a new lock: build without "
            "--lock",
        )

    def _remembered(self, snapshot: str) -> str:
        """Where snapshot.debian.org has it: under its sha1."""
        name, version = quote(self._package.name), quote(self._package.version, safe="")
        about = f"{snapshot}/mr/binary/{name}/{version}/binfiles?fileinfo=1"
        try:
            with _open(about) as answer:
                told = json.loads(answer.read(_MOST_TOLD))
            for one in told["result"]:
                # Of what has the same version in two archives, the size tells it apart.
                infos = told.get("fileinfo", {}).get(one["hash"], [])
                sizes = {info["size"] for info in infos} or {self._package.size_bytes}
                fits = one["architecture"] == self._package.architecture
                if fits and self._package.size_bytes in sizes:
                    return f"{snapshot}/file/{quote(str(one['hash']))}"
        except (_NotThereError, OSError, http.client.HTTPException) as error:
            raise _NotThereError(f"{about}: {_why(error)}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _NotThereError(f"{about}: its answer cannot be read") from error
        raise _NotThereError(f"{about}: it knows no such file")

    def _try(self, url: str) -> None:
        for left in reversed(range(_TRIES)):
            try:
                self._get(url)
            except (_NotThereError, OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno in NO_SPACE:
                    raise ImageError(
                        f"no space is left for packages in {self._path.parent}",
                        "free some, or name another folder by --cache",
                    ) from error
                if isinstance(error, _NotThereError) or not left or self._stop.wait(_PAUSE_S):
                    raise _NotThereError(f"{url}: {_why(error)}") from error
            else:
                return

    def _get(self, url: str) -> None:
        fresh, digest, size = self._path.with_suffix(".part"), hashlib.sha256(), 0
        try:
            with _open(url) as answer, fresh.open("wb") as stream:
                while piece := answer.read(_PIECE):
                    size += len(piece)
                    if self._stop.is_set() or size > self._package.size_bytes:
                        break
                    digest.update(piece)
                    stream.write(piece)
            if size < self._package.size_bytes:
                raise http.client.IncompleteRead(b"", self._package.size_bytes - size)
            if digest.hexdigest() != self._package.sha256:
                raise _NotThereError("it is another file than the lock says")
            fresh.replace(self._path)
        finally:
            fresh.unlink(missing_ok=True)


def _open(url: str) -> http.client.HTTPResponse:
    # Locks hold nothing but addresses that begin with http.
    request = urllib.request.Request(url, headers={"User-Agent": "slfac"})  # noqa: S310
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        # 5xx and 429 may pass.
        kind = OSError if error.code >= 500 or error.code == 429 else _NotThereError
        raise kind(f"{error.code} {error.reason}") from error
    return answer


def _why(error: BaseException) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return f"it ended {error.expected} bytes short"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
