"""Says what a host is; alone among these files it runs on Python 3.6 too, to say that it is old."""

import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import time


def nearest(path: str) -> str:
    """The deepest folder of a path that exists.

    Args:
        path: An absolute path.
    """
    while not os.path.isdir(path):  # noqa: PTH112 - as old as it may have to run on
        path = os.path.dirname(path)  # noqa: PTH120
    return path


def _succeeds(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(4096).decode("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""


def facts(folder: str) -> "dict[str, object]":
    """What bears on whether this host can be used, and how.

    Args:
        folder: Where everything is to go; ``~`` is the user's home.
    """
    folder = os.path.abspath(os.path.expanduser(folder))  # noqa: PTH100, PTH111
    there = nearest(folder)
    systemd = os.path.isdir("/run/systemd/system")  # noqa: PTH112
    return {
        "python": platform.python_version(),
        "python_path": sys.executable,
        "implementation": platform.python_implementation(),
        "bits": 8 * struct.calcsize("P"),
        "system": platform.system(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "host_name": platform.node(),
        "model": _text("/proc/device-tree/model"),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "folder": folder,
        "writable": os.access(there, os.W_OK | os.X_OK),
        "nearest": there,
        "free_bytes": shutil.disk_usage(there).free,
        "time_s": time.time(),
        "root": os.getuid() == 0,
        "systemd": systemd,
        "sudo": systemd and (os.getuid() == 0 or _succeeds("sudo", "-n", "true")),
        "user_units": systemd and _succeeds("systemctl", "--user", "show-environment"),
        "image": _text("/opt/slfac/current/bin/slfac") != ""
        and os.path.realpath("/opt/slfac/current"),
        "image_agent": systemd and _succeeds("systemctl", "is-active", "slfac-device.service"),
    }


if __name__ == "__main__":
    print(json.dumps(facts(sys.argv[1])))
