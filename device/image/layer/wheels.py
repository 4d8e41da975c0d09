"""The wheels of a layer: those that the lock names, and slfac itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import slfac
from slfac.device.image.programs import find_program
from slfac.wire.errors import ImageError

_LOCKS = Path(__file__).parent / "locks"
#: Python of each layer, and the oldest C library of the systems that have it.
ABIS = {
    "cp310": ("3.10", "manylinux_2_28"),
    "cp311": ("3.11", "manylinux_2_28"),
    "cp312": ("3.12", "manylinux_2_28"),
    "cp313": ("3.13", "manylinux_2_28"),
}
_ELF = b"\x7fELF"
#: Processors that all wheels exist for, by their number in ELF files.
MACHINES = {"aarch64": 183, "x86_64": 62}
# Headers and tests that no program imports.
_UNUSED = ("**/tests", "**/*.pyi", "**/include", "bin")


def lock_file(abi: str) -> Path:
    """The lock of a layer: each wheel with its version and hashes.

    Args:
        abi: Such as ``cp313``.

    Raises:
        ImageError: There is no such layer.
    """
    if abi not in ABIS:
        raise ImageError(f"there is no layer for {abi!r}", f"choose one of {', '.join(ABIS)}")
    return _LOCKS / f"{abi}.txt"


def install_wheels(
    abi: str, target: Path, wheel: Path | None = None, machine: str = "aarch64"
) -> None:
    """Put the wheels of a layer into a folder.

    Args:
        abi: Such as ``cp313``.
        target: The folder; made, and filled.
        wheel: slfac's own; None to build it from the sources that are running, or to fetch this
            release.
        machine: One of :data:`MACHINES`.

    Raises:
        ImageError: A wheel cannot be had, or is not what the lock says.
    """
    version, library = ABIS[abi]
    # Not that of whatever environment happens to be active, which may be somebody else's.
    common = (
        "--python",
        sys.executable,
        "--target",
        str(target),
        "--python-version",
        version,
        "--python-platform",
        f"{machine}-{library}",
    )
    options = (*common, "--only-binary", ":all:", "--no-deps", "--link-mode", "copy")
    # Its own comes first: a wrong one is told before others are fetched.
    own = str(wheel) if wheel is not None else own_wheel(target.with_name(f"{target.name}-wheel"))
    _uv("pip", "install", *options, own)
    _check_machine(target, machine)
    _uv("pip", "install", *options, "--require-hashes", "-r", str(lock_file(abi)))
    _check_machine(target, machine)
    for pattern in _UNUSED:
        for found in target.glob(pattern):
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink(missing_ok=True)
    # They say when and from where a wheel came, and list files that are gone again.
    for told in target.glob("*.dist-info/*"):
        if told.name in {"direct_url.json", "INSTALLER", "RECORD", "REQUESTED", "uv_cache.json"}:
            told.unlink()


def _check_machine(target: Path, machine: str) -> None:
    """Refuse programs for another machine, whatever the wheel's name says of it."""
    for path in sorted(target.rglob("*.so*")):
        with path.open("rb") as stream:
            head = stream.read(20)
        if head[:4] == _ELF and int.from_bytes(head[18:20], "little") != MACHINES[machine]:
            name = {"aarch64": "arm64"}.get(machine, machine)
            raise ImageError(
                f"{path.relative_to(target)} is for another machine than {name}",
                f"give a wheel for {name}, or the one that any machine can use",
            )


def own_wheel(folder: Path) -> str:
    """The wheel of slfac itself, built where its sources are at hand.

    Args:
        folder: Where to build it; made.

    Returns:
        Its path, or what to ask the package index for.

    Raises:
        ImageError: It cannot be built.
    """
    sources = Path(slfac.__file__).resolve().parents[2]
    if not (sources / "pyproject.toml").is_file():
        return f"slfac=={slfac.__version__}"
    _uv("build", "--python", sys.executable, "--wheel", "--out-dir", str(folder), str(sources))
    (wheel,) = folder.glob("*.whl")
    return str(wheel)


def _uv(*arguments: str) -> None:
    program = find_program("uv")
    if program is None:
        raise ImageError(
            "uv is not installed, which fetches wheels for other machines", "pip install uv"
        )
    done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
        [program, "--quiet", "--no-progress", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise ImageError(
            f"uv {arguments[0]} failed: {' '.join(lines)[-400:]}", "check the network, and the lock"
        )
