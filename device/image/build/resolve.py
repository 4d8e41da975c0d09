"""Asks the archives which packages a base needs today: apt, with a folder of its own."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote

import msgspec

from slfac.device.image.build.lock import Archive, Lock, Package, wheels_sha256
from slfac.device.image.build.recipe import Recipe
from slfac.device.image.programs import run_program
from slfac.wire.errors import ImageError

_LIMIT_S = 900.0
_FOLDERS = (
    *("state/lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/apt.conf.d"),
)
_LINE = re.compile(r"^'(\S+)' (\S+)\.deb (\d+) SHA256:([0-9a-f]{64})$")
_SOURCE = re.compile(r"^deb (?:\[[^\]]*\] )?(\S+) (\S+)")
_DATE = re.compile(r"^Date: (.*)$", re.MULTILINE)
_CONFIG = """\
Dir "{home}";
Dir::State "{home}/state";
Dir::State::status "{home}/status";
Dir::Cache "{home}/cache";
Dir::Log "{home}";
Dir::Etc "{home}/etc";
Dir::Etc::SourceList "{home}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::TrustedParts "/etc/apt/trusted.gpg.d";
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::ForceHash "sha256";
Acquire::Languages "none";
Acquire::Retries "3";
"""


def resolve(recipe: Recipe, time_s: int) -> Lock:
    """Find out which packages a base consists of.

    Args:
        recipe: What is to be in it.
        time_s: What the base is to take for the present, in seconds since 1970.

    Returns:
        Its lock.

    Raises:
        ImageError: An archive cannot be reached, or lacks a package.
    """
    with tempfile.TemporaryDirectory(prefix="slfac-apt-") as name:
        home = Path(name)
        for folder in _FOLDERS:
            (home / folder).mkdir(parents=True)
        (home / "status").touch()
        (home / "sources.list").write_text("\n".join(recipe.sources) + "\n", encoding="utf-8")
        config = home / "apt.conf"
        config.write_text(_CONFIG.format(home=home), encoding="utf-8")
        _apt(config, "update", "-q", "--error-on=any")
        listed = _apt(config, "install", "--print-uris", "-qq", "--yes", *recipe.wanted)
        archives = tuple(_archive(home / "state" / "lists", line) for line in recipe.sources)
    packages = sorted(_package(line, archives) for line in listed.splitlines() if line.strip())
    if not packages:
        raise ImageError("apt-get names no package for this base", "check the list of archives")
    return Lock(
        suite=recipe.suite,
        time_s=time_s,
        recipe=recipe.digest,
        wheels_sha256=wheels_sha256(recipe),
        archives=archives,
        packages=tuple(packages),
    )


def _apt(config: Path, *arguments: str) -> str:
    done = run_program(["apt-get", *arguments], env={"APT_CONFIG": str(config)}, limit_s=_LIMIT_S)
    if done.code:
        raise ImageError(
            f"apt-get {arguments[0]} failed: {done.said}", "check the network and the archives"
        )
    return done.output.decode("utf-8", "replace")


def _archive(lists: Path, line: str) -> Archive:
    """What is known of an archive once its lists were fetched."""
    found = _SOURCE.match(line)
    if found is None:
        raise ImageError(f"{line!r} names no archive", "write deb URL SUITE COMPONENTS")
    url, suite = found[1].rstrip("/"), found[2]
    # The name that apt gives to what it fetches.
    flat = f"{url.partition('://')[2]}/dists/{suite}/InRelease".replace("/", "_")
    release = lists / flat
    if not release.is_file():
        return Archive(url=url, suite=suite)
    data = release.read_bytes()
    date = _DATE.search(data.decode("utf-8", "replace"))
    return Archive(
        url=url,
        suite=suite,
        date=date[1] if date else "",
        inrelease_sha256=hashlib.sha256(data).hexdigest(),
    )


def _package(line: str, archives: tuple[Archive, ...]) -> Package:
    found = _LINE.match(line)
    base = next((a.url for a in archives if found and found[1].startswith(f"{a.url}/")), None)
    if found is None or base is None:
        raise ImageError(f"what apt-get prints cannot be read: {line!r}", "install a current apt")
    name, version, architecture = found[2].split("_")
    try:
        return msgspec.convert(
            {
                "name": name,
                "version": unquote(version),
                "architecture": architecture,
                "sha256": found[4],
                "size_bytes": int(found[3]),
                "url": base,
                "path": found[1].removeprefix(f"{base}/").lstrip("./"),
            },
            Package,
        )
    except msgspec.ValidationError as error:
        raise ImageError(f"the archive {base} offers {line!r}: {error}") from error
