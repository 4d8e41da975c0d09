"""Everything that is claimed of device images, tried: built, built again, booted, refused, flashed.

``make image-test`` (``python -m harness.image_trial``) takes one to two hours of two cores and 12
GB of disk; ``make results-image`` does the same and writes ``docs/results/image.json``, its page,
and the figures in docs/image.md. What is done is kept in ``runs/image`` and not done again: a trial
that was stopped goes on where it was. ``--fresh`` begins again.

An ordinary user suffices, but for writing a loop device, which is left out then. Called by root
with ``--user NAME``, everything else is done as that user.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.image_page import DOC, RESULTS, page, put_figures
from slfac import __version__
from slfac.testbed.collect import machine, versions

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "image"
_STEPS, _LEAST_STEPS = 8, 5
_LIMIT_S = 2400


@dataclass(frozen=True)
class Trial:
    """How the command line is called.

    Attributes:
        slfac: The command.
        user: Who calls it; None for this process's user.
        runs: Folder for images and what was found.
    """

    slfac: tuple[str, ...]
    user: str | None
    runs: Path

    def call(self, *arguments: str | Path) -> None:
        """Call it, and end all if it fails."""
        command = [*self.slfac, *(str(argument) for argument in arguments)]
        _say(f"$ slfac {shlex.join(command[len(self.slfac) :])}")
        found = pwd.getpwnam(self.user) if self.user is not None else None
        with subprocess.Popen(
            command,
            user=found.pw_uid if found else None,
            group=found.pw_gid if found else None,
            extra_groups=[] if found else None,
            env={**os.environ, **({"HOME": found.pw_dir} if found else {})},
        ) as process:
            try:
                code = process.wait()
            except BaseException:
                # It ends what it has started itself, which takes a moment.
                process.terminate()
                process.wait()
                raise
        if code:
            sys.exit(f"it ended with {code}")

    def image(self, board: str) -> Path:
        """An image that was built."""
        return self.runs / "images" / f"slfac-{board}-{__version__}.img.zst"


def _build(trial: Trial, board: str, *more: str | Path, out: str = "images") -> list[str | Path]:
    places = ("--out", trial.runs / out, "--cache", trial.runs / "cache")
    return ["image", "build", "--board", board, *places, "--wheel", _wheel(trial), *more]


def _wheel(trial: Trial) -> Path:
    (wheel,) = (trial.runs / "wheel").glob("*.whl")
    return wheel


def _verify(trial: Trial, board: str, *more: str) -> list[str | Path]:
    limits = ("--steps", str(_STEPS), "--limit-s", str(_LIMIT_S))
    return ["image", "verify", trial.image(board), *limits, *more]


Step = Callable[[Trial], list[str | Path]]
#: What is tried, in this order; each writes what it found under its name.
STEPS: dict[str, Step] = {
    # The base is the same for all boards: any of them tells how long it takes.
    "build": lambda trial: _build(trial, "qemu", "--again"),
    "build-kept": lambda trial: _build(trial, "qemu"),
    "build-rpi": lambda trial: _build(trial, "rpi"),
    "build-locked": lambda trial: _build(
        *(trial, "qemu", "--again", "--lock", _beside(trial.image("qemu"), ".lock.json")),
        out="again",
    ),
    "virt": lambda trial: _verify(trial, "qemu"),
    "virt-stranger": lambda trial: _verify(trial, "qemu", "--stranger"),
    "virt-rpi": lambda trial: _verify(trial, "rpi"),
    "raspi3b": lambda trial: _verify(trial, "rpi", "--machine", "raspi3b"),
}


def _beside(image: Path, suffix: str) -> Path:
    return image.with_name(image.name.removesuffix(".zst") + suffix)


def try_all(trial: Trial, only: Sequence[str]) -> dict[str, Any]:
    """Do what was not done yet.

    Args:
        trial: How.
        only: Names of steps; none for all.

    Returns:
        What each step found.
    """
    _prepare(trial)
    for name, step in STEPS.items():
        target = trial.runs / f"{name}.json"
        if (only and name not in only) or target.exists():
            continue
        _say(f"== {name}")
        fresh = target.with_suffix(".new")
        trial.call(*step(trial), "--json", fresh)
        fresh.replace(target)
    return {
        name: json.loads((trial.runs / f"{name}.json").read_text())
        for name in STEPS
        if (trial.runs / f"{name}.json").exists()
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _prepare(trial: Trial) -> None:
    """Make the folders, and one wheel for all builds."""
    trial.runs.mkdir(parents=True, exist_ok=True)
    if not list((trial.runs / "wheel").glob("*.whl")):
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(trial.runs / "wheel")]
        subprocess.run([*build, str(ROOT)], check=True, stdout=subprocess.DEVNULL)
    if trial.user is not None:
        shutil.chown(trial.runs, trial.user)


def _flash(trial: Trial) -> str:
    """Write a loop device, where that is allowed."""
    if os.geteuid():
        _say("writing a loop device is left out: that needs root")
        return "left out"
    target = trial.runs / "flash.ok"
    if not target.exists():
        tests = ("tests/integration/test_flash_loop.py", "-q", "-rs")
        done = subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit("writing a loop device failed")
        target.touch()
    return "passed"


def check(found: dict[str, Any]) -> list[str]:
    """What is claimed of images and does not hold."""
    wrong = []
    same = {"build", "build-kept", "build-locked"} & found.keys()
    if len({found[name]["sha256"] for name in same}) > 1:
        wrong.append("the same lock gave other bytes")
    wrong += [
        f"{name} made fewer than five steps"
        for name in sorted({"virt", "virt-rpi", "raspi3b"} & found.keys())
        if found[name]["started"]["steps"] < _LEAST_STEPS
    ]
    stranger = found.get("virt-stranger")
    if stranger is not None and not stranger["started"]["refused"]:
        wrong.append("a stranger was not refused")
    return wrong


def main() -> None:
    """Try everything, and write what was found if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="forget what was done before")
    parser.add_argument("--only", action="append", default=[], choices=STEPS, help="one step")
    parser.add_argument("--user", help="called by root: do all but the flashing as this user")
    parser.add_argument("--slfac", default=f"{sys.executable} -m slfac.cli", help="the command")
    parser.add_argument(
        "--write", action="store_true", help="write docs/results/image.json of what was done"
    )
    parser.add_argument("--note", default="", help="what a reader of the figures must know")
    args = parser.parse_args()
    if args.fresh:
        shutil.rmtree(RUNS, ignore_errors=True)
    trial = Trial(slfac=tuple(shlex.split(args.slfac)), user=args.user, runs=RUNS)
    found = try_all(trial, args.only)
    if args.only and not args.write:
        return
    flash = _flash(trial)
    if wrong := check(found):
        sys.exit("; ".join(wrong))
    if args.write:
        result = {
            "command": "python -m harness.image_trial --write",
            "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
            "machine": machine(),
            "versions": {**versions(), **_programs()},
            "seed": 0,
            "as_root": os.geteuid() == 0 and args.user is None,
            "note": args.note,
            "loop_device": flash,
            "steps": found,
        }
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(page(result))
        DOC.write_text(put_figures(DOC.read_text("utf-8"), result), "utf-8")


def _programs() -> dict[str, str]:
    """Releases of the programs that images are made and started with."""
    told = {}
    for name in ("mmdebstrap", "qemu-system-aarch64", "apt-get", "mke2fs"):
        flag = "-V" if name == "mke2fs" else "--version"
        done = subprocess.run([name, flag], capture_output=True, text=True, check=False)
        words = (done.stdout or done.stderr).split()
        told[name] = next(word for word in words if word[0].isdigit())
    return told


if __name__ == "__main__":
    main()
