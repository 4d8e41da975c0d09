"""Makes ``docs/flash.svg``: what ``slfac image flash`` shows in a terminal, of a real run.

It writes the image of `make image-test` (or of ``--image``) to a loop device, which root alone can
make: first to one that is too small, which is refused, then to another, typing its name.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.image_trial import RUNS
from harness.loops import loop_device
from slfac import __version__

_WIDTH = 100
_SMALL_BYTES, _CARD_BYTES = 512_000_000, 4_000_000_000
_ASKED = "to go on: "
_FONTS = re.compile(r"@font-face \{.*?\}\n", re.DOTALL)


def main() -> None:
    """Capture a run and write the picture to the path that is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("--image", type=Path, help="the image (that of make image-test)")
    args = parser.parse_args()
    image = (args.image or RUNS / "images" / f"slfac-rpi-{__version__}.img.zst").resolve()
    if os.geteuid():
        sys.exit("loop devices need root")
    lines: list[str] = []
    for size, code in ((_SMALL_BYTES, 81), (_CARD_BYTES, 0)):
        with tempfile.NamedTemporaryFile(prefix="slfac-capture-", dir="/var/tmp") as medium:
            medium.truncate(size)
            with loop_device(Path(medium.name)) as drive:
                lines += [*_run(image, drive, code), ""]
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    for line in lines[:-1]:
        prompt = line.startswith("$ ")
        console.print(Text(line, style="bold" if prompt else ""), soft_wrap=False)
    svg = console.export_svg(title="slfac image flash", unique_id="flash")
    # Nothing is fetched by whoever looks at it.
    args.target.write_text(_FONTS.sub("", svg), encoding="utf-8")


def _run(image: Path, drive: Path, code: int) -> list[str]:
    """What a terminal shows in the end of a call, in which the drive's name is typed if asked."""
    words = ["slfac", "image", "flash", image.name, str(drive)]
    command = [sys.executable, "-m", "slfac.cli", *words[1:]]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=image.parent
    ) as process:
        os.close(theirs)
        seen, typed = "", False
        while piece := _read(ours):
            seen += piece
            if not typed and seen.endswith(_ASKED):
                typed = True
                os.write(ours, f"{drive.name}\n".encode())
    os.close(ours)
    assert process.returncode == code, seen
    # A line that was begun again shows what it held last.
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in seen.split("\n")]
    return [f"$ {shlex.join(words)}", *(line.replace("\x1b[K", "") for line in shown if line)]


def _read(handle: int) -> str:
    try:
        return os.read(handle, 4096).decode("utf-8", "replace")
    except OSError:
        # How Linux says that nobody has the other end open any more.
        return ""


if __name__ == "__main__":
    main()
