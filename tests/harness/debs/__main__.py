"""Tries the package on arm64 systems: `python -m harness.debs`; from tens of minutes on."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import deb_page
from harness.debs.packages import write_packages
from harness.debs.site import STEPS, serving
from harness.debs.systems import CONSOLE, LOG, SYSTEMS, System, running
from slfac.device.image.build.files import workplace
from slfac.device.image.programs import run_program
from slfac.device.places import image_cache
from slfac.testbed.collect import machine, versions
from slfac.wire.ending import terminate

_SAID = re.compile(r"TRIAL (ok|failed|system|end)(?: (.*))?")
_LIMIT_S = 3 * 3600.0
# No mirror of Ubuntu for arm64, nor of Raspberry Pi OS, could be reached from the machine.
_NOT_TRIED = (
    "Ubuntu 22.04",
    "Ubuntu 24.04",
    "Raspberry Pi OS",
    "JetPack (Jetson Linux)",
    "any real board",
)


class Watch:
    """Reads what a system says about its trial, as it says it.

    Args:
        file: Where it says it.
        began_s: When the trial began, by the monotonic clock.
    """

    def __init__(self, file: Path, began_s: float) -> None:
        self.steps: list[dict[str, Any]] = []
        self.system = ""
        self.ended = False
        self._file, self._began_s, self._read = file, began_s, 0

    def look(self) -> None:
        """Take what is new."""
        if not self._file.exists():
            return
        lines = self._file.read_text("utf-8", "replace").split("\n")[self._read : -1]
        self._read += len(lines)
        for line in lines:
            if found := _SAID.search(line.strip()):
                self._take(*found.groups(""))

    def _take(self, kind: str, rest: str) -> None:
        if kind == "system":
            self.system = rest
        elif kind == "end":
            self.ended = True
        else:
            name, _, seconds = rest.rpartition(" ")
            self.steps.append({"step": name, "passed": kind == "ok", "seconds": int(seconds)})
        say(f"{time.monotonic() - self._began_s:5.0f} s  {kind} {rest}")


def try_on(system: System, cache: Path, keep: Path | None) -> dict[str, Any]:
    """Try the package on a system.

    Args:
        system: The system.
        cache: Where bases of images are kept.
        keep: Where to put what it said; None to forget it.

    Returns:
        What came of it.
    """
    began_s = time.monotonic()
    say(f"{system.name}: making packages")
    with workplace("slfac-deb-") as work:
        trial, own = work / "trial", work / "server"
        trial.mkdir()
        own.mkdir()
        write_packages(system.abi, trial, booted=system.booted, time_s=int(time.time()))
        with serving(own, trial, host=system.host) as served:
            with running(system, trial, work, cache, say) as (process, file):
                watch = Watch(file, began_s)
                _follow(process, watch, began_s)
            trained = served.steps()
        for name in (LOG, CONSOLE):
            if keep is not None and (work / name).exists():
                shutil.copy(work / name, keep / f"{system.name}-{name}")
    good = all(step["passed"] for step in watch.steps)
    return {
        "name": system.name,
        "system": watch.system,
        "where": "booted in QEMU" if system.booted else "chroot under qemu-user",
        "wheels": system.abi,
        "training_steps": trained,
        "passed": watch.ended and good and trained >= STEPS,
        "seconds": round(time.monotonic() - began_s),
        "steps": watch.steps,
    }


def _follow(process: subprocess.Popen[bytes], watch: Watch, began_s: float) -> None:
    while process.poll() is None and time.monotonic() - began_s < _LIMIT_S:
        watch.look()
        time.sleep(1)
    watch.look()


def main() -> int:
    """Try the package, and write what came of it.

    Returns:
        1 if something did not pass.
    """
    parser = argparse.ArgumentParser(prog="python -m harness.debs", description=__doc__)
    parser.add_argument("--on", default=",".join(SYSTEMS), help="such as bookworm,trixie")
    parser.add_argument("--cache", type=Path, default=image_cache(), help="where bases are kept")
    parser.add_argument("--keep", type=Path, help="folder for what the systems said")
    parser.add_argument("--json", type=Path, help="file for the result")
    args = parser.parse_args()
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    # So that nothing is left running, or mounted.
    signal.signal(signal.SIGTERM, terminate)
    passed = True
    for name in args.on.split(","):
        found = try_on(SYSTEMS[name], args.cache, args.keep)
        say(f"{name} {'passed' if found['passed'] else 'FAILED'}")
        passed = passed and found["passed"]
        if args.json is not None:
            _write(args.json, found)
            if args.json.resolve() == deb_page.RESULTS:
                deb_page.write()
    return 0 if passed else 1


def _write(file: Path, found: dict[str, Any]) -> None:
    """Put a system's result into a file, in place of the one before."""
    tools = ["qemu-system-aarch64", "mmdebstrap"]
    about = {
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": {**versions(), **{tool: _version(tool) for tool in tools}},
    }
    before = json.loads(file.read_text())["systems"] if file.exists() else []
    kept = [one for one in before if one["name"] != found["name"]]
    told = {
        "command": "python -m harness.debs --json docs/results/deb.json",
        **about,
        "seed": 0,
        "systems": [*kept, {**found, **about}],
        "not_tried": _NOT_TRIED,
    }
    file.write_text(json.dumps(told, indent=1) + "\n")


def _version(tool: str) -> str:
    output = run_program([tool, "--version"]).output.decode()
    found = re.search(r"\d+(\.\d+)+", output)
    return found[0] if found else "unknown"


def say(line: str) -> None:
    """Tell what goes on."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
