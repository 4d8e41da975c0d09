"""Systems that a package is tried on: chroots that mmdebstrap makes, and Debian 13 in QEMU."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slfac.device.image.build.base import get_base
from slfac.device.image.build.boards import BOARDS
from slfac.device.image.build.recipe import trixie
from slfac.device.image.build.system import system_tree
from slfac.device.image.layer.tree import Tree
from slfac.device.image.programs import wide_path
from slfac.device.image.verify.machine import HOST, MACHINES, started

Status = Callable[[str], None]
_HERE = Path(__file__).parent
_ASSEMBLE = _HERE.parents[2] / "device" / "image" / "build" / "assemble.py"
#: What a system says: a chroot, and a machine.
LOG, CONSOLE = "log.txt", "console.txt"
# Several times as fast as one with every extension that QEMU knows, its default.
_PROCESSOR = {"QEMU_CPU": "cortex-a72"}
_UNIT = """\
[Unit]
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart=/bin/sh /trial/trial.sh booted
ExecStopPost=/usr/bin/systemctl --no-block poweroff
StandardOutput=journal+console
StandardError=journal+console
TimeoutStartSec=infinity
"""


@dataclass(frozen=True)
class System:
    """A system to try the package on.

    Attributes:
        name: What it is called.
        abi: Its Python.
        suite: Its release.
        booted: In QEMU; else in a chroot.
    """

    name: str
    abi: str
    suite: str
    booted: bool = False

    @property
    def host(self) -> str:
        """What it calls this machine's loopback."""
        return HOST if self.booted else "127.0.0.1"


SYSTEMS = {
    system.name: system
    for system in (
        System("bookworm", "cp311", "bookworm"),
        System("trixie", "cp313", "trixie", booted=True),
    )
}


@contextmanager
def running(
    system: System, trial: Path, work: Path, cache: Path, say: Status
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run the trial on a system, until the block ends.

    Args:
        system: The system.
        trial: What it sees as ``/trial``.
        work: For files of this machine.
        cache: Where bases of images are kept.
        say: Told what goes on.

    Yields:
        The process that ends with the system, and the file that takes what it says.
    """
    shutil.copy(_HERE / "trial.sh", trial)
    if not system.booted:
        say(f"mmdebstrap {system.suite}")
        with _chroot(system, trial, work) as process:
            yield process, work / LOG
        return
    _make_root(trial, work, cache, say)
    say("starting QEMU")
    line = "root=/dev/vda rw rootwait net.ifnames=0"
    root, boot = work / "root.ext4", work / "boot"
    with started(MACHINES["virt"], image=root, files=boot, line=line, work=work) as process:
        yield process, work / CONSOLE


@contextmanager
def _chroot(system: System, trial: Path, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    for folder in (trial, *trial.rglob("*")):
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    # onnxruntime ends with SIGSEGV over what this machine's /sys says of another kind of processor.
    shown = 'mount -t tmpfs none "$0/sys" && exec chroot "$0" sh /trial/trial.sh chroot'
    hooks = f'cp -rT {trial} "$1/trial"', f"unshare --mount sh -c '{shown}' \"$1\""
    command = ["mmdebstrap", "--mode=unshare", "--variant=minbase", "--arch=arm64"]
    command += [*(f"--customize-hook={hook}" for hook in hooks), "--format=null"]
    command += [system.suite, "-"]
    with (work / LOG).open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PATH": wide_path(), "TMPDIR": str(work), **_PROCESSOR},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _make_root(trial: Path, work: Path, cache: Path, say: Status) -> None:
    base = get_base(trixie(), cache, time_s=int(time.time()), on_status=say)
    tree = Tree()
    tree.entries |= system_tree(1, "trial", trixie().sources).entries
    tree.file("etc/fstab", "/dev/vda / ext4 defaults 0 1\n")
    tree.copy("trial", trial)
    unit = "trial.service"
    tree.file(f"etc/systemd/system/{unit}", _UNIT)
    tree.link(f"etc/systemd/system/multi-user.target.wants/{unit}", f"../{unit}")
    (work / "layer.tar").write_bytes(tree.tar(base.time_s))
    spec = {
        "boot": BOARDS["qemu"].boot,
        "take": {},
        "remove": [],
        "uuid": str(uuid.uuid4()),
        "time_s": base.time_s,
    }
    (work / "assemble.json").write_text(json.dumps(spec))
    shutil.copy(_ASSEMBLE, work)
    say("making the disk")
    command = ["mmdebstrap", "--unshare-helper", "/usr/bin/python3", "-I"]
    with base.archive.open("rb") as archive:
        subprocess.run(
            [*command, str(work / "assemble.py"), str(work)],
            stdin=archive,
            check=True,
            env={**os.environ, "PATH": wide_path()},
        )
