"""Makes ``docs/live.png``: what a browser shows of a run of the demo, late in its ten rounds."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from harness.browser import Browser, find_chromium
from harness.site import start_cli

_ROUNDS = 8
_WIDTH = 1180


def main() -> None:
    """Run the demo, look at it, and write the picture to the path that is given."""
    target = Path(sys.argv[1])
    program = find_chromium()
    if program is None:
        sys.exit("no Chromium on this machine")
    folder = tempfile.TemporaryDirectory(prefix="slfac-screenshot-")
    demo = start_cli("demo", "--page", "0", "--out", folder.name)
    try:
        assert demo.stdout is not None
        page = next(line.split()[1] for line in demo.stdout if line.startswith("page: "))
        with Browser(program) as browser:
            browser.screen(_WIDTH, 900)
            browser.open(page)
            for count in range(1, _ROUNDS + 1):
                browser.await_true(f"document.getElementById('progress').value >= {count}")
            height = browser.value("document.getElementById('rounds-card').offsetTop")
            assert isinstance(height, int)
            browser.screen(_WIDTH, height, scale=1.5)
            browser.await_true("devicePixelRatio == 1.5")
            browser.picture(target, whole=False)
            assert browser.complaints == [], browser.complaints
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate()
        folder.cleanup()


if __name__ == "__main__":
    main()
