"""A headless Chromium, driven over its own protocol on two pipes."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

WAIT_S = 60
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    *("--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"),
    *("--no-sandbox", "--disable-background-networking", "--disable-component-update"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"),
)


def find_chromium() -> str | None:
    """Path of a Chromium, or None."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """One Chromium with one page; ``with`` ends it.

    Attributes:
        requests: URLs that the page asked for.
        complaints: What its console said: errors, warnings, uncaught exceptions.
    """

    def __init__(self, program: str) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._program = program
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session = ""

    def __enter__(self) -> Browser:
        self._home = tempfile.TemporaryDirectory(
            prefix="slfac-chromium-", ignore_cleanup_errors=True
        )
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()

        def hand_over() -> None:
            os.dup2(theirs_in, 3)
            os.dup2(theirs_out, 4)

        self._process = subprocess.Popen(
            [self._program, *_OPTIONS, f"--user-data-dir={self._home.name}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=hand_over,  # noqa: PLW1509 - calls dup2 and nothing else
            env={**os.environ, "HOME": self._home.name},
        )
        os.close(theirs_in)
        os.close(theirs_out)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        self._send("Browser.close", {})
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._home.cleanup()

    def call(self, method: str, **params: object) -> dict:
        """Call a method of the protocol and wait for its result."""
        number = self._send(method, params)
        deadline_s = time.monotonic() + WAIT_S
        while True:
            message = self._receive(deadline_s)
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)
        self.await_true(f"document.readyState == 'complete' && location.href == {url!r}")

    def value(self, expression: str) -> object:
        """What a JavaScript expression is."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def await_true(self, expression: str) -> None:
        """Wait until an expression holds; it is looked at whenever the page draws a frame."""
        wait = f"""new Promise(done => {{
            const look = () => ({expression}) ? done(true) : setTimeout(look, 50);
            look();
        }})"""
        told = self.call("Runtime.evaluate", expression=wait, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]

    def screen(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """Set size and colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Save what the page looks like as PNG."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))

    def _send(self, method: str, params: dict) -> int:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return number

    def _receive(self, deadline_s: float) -> dict:
        while b"\0" not in self._buffer:
            left_s = deadline_s - time.monotonic()
            ready, _, _ = select.select([self._in], [], [], max(left_s, 0))
            data = os.read(self._in, 1 << 16) if ready else b""
            assert data, "Chromium does not answer"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, params: dict) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not where the browser wants to find its own."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
