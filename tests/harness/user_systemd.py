"""A real systemd of a user's, in mounts of its own, so that it need not have started the system."""

import os
import shutil
import subprocess
import time
from pathlib import Path

_SET_UP = """\
mount --make-rprivate / && mount -t tmpfs tmpfs /run \
&& mkdir -p /run/systemd/system /run/user/0 && chmod 700 /run/user/0 && exec "$@"
"""
_PATIENCE_S = 60.0
PROGRAM = "/usr/lib/systemd/systemd"


class UserSystemd:
    """Runs until it is left; commands run beside it.

    Args:
        home: Home of its user.
    """

    def __init__(self, home):
        is_root = os.geteuid() == 0
        self._unshare = ["unshare", "--mount", *["--map-root-user"] * (not is_root)]
        self._enter = ["--user", "--preserve-credentials"] * (not is_root)
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "DBUS_"))},
            "XDG_RUNTIME_DIR": "/run/user/0",
            "HOME": str(home),
        }
        self._log = home / "systemd.log"

    def __enter__(self):
        assert shutil.which("systemctl"), "systemd is missing: install its package"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._unshare, "sh", "-c", _SET_UP, "sh", PROGRAM, "--user"],
                env={**self._environment, "SYSTEMD_LOG_TARGET": "console"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline_s = time.monotonic() + _PATIENCE_S
        while self.run("systemctl", "--user", "is-system-running").stdout.strip() != "running":
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline_s, self._log.read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(_PATIENCE_S)

    def run(self, *command, given=""):
        """Run a command beside it."""
        where = ["nsenter", "--target", str(self._process.pid), "--mount", *self._enter]
        return subprocess.run(
            [*where, *command],
            input=given,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            cwd=Path("/"),
        )
