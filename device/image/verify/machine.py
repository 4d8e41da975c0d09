"""The machines that QEMU makes of an image: a general one, and a Raspberry Pi 3."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slfac.device.image.programs import find_program, run_program
from slfac.wire.errors import ImageError, MissingExtraError

MachineName = Literal["virt", "raspi3b"]
#: What the guest calls this machine's loopback.
HOST = "10.0.2.2"
_QEMU = "qemu-system-aarch64"
_PI3 = "bcm2837-rpi-3-b.dtb"
# SD cards have a power of two of bytes, and a card is larger than an image.
_CARD = "4G"
# Emulated and on a busy machine, systemd's 90 s for a disk are too few.
_PATIENCE = "systemd.default_device_timeout_sec=900"


@dataclass(frozen=True)
class Machine:
    """A machine to start an image on.

    Attributes:
        name: As QEMU calls it.
        files: What it takes from the boot partition.
        console: Where its kernel writes.
        options: Options of QEMU; ``{files}`` and ``{disk}`` are put in.
    """

    name: MachineName
    files: tuple[str, ...]
    console: str
    options: tuple[str, ...]

    def command(self, *, files: Path, disk: Path, line: str, console: Path) -> list[str]:
        """How QEMU is called.

        Args:
            files: Folder with what it takes from the boot partition.
            disk: The disk.
            line: The kernel's command line, as the image has it.
            console: The file that takes what the guest writes.
        """
        words = [word for word in line.split() if not word.startswith("console=")]
        append = " ".join([f"console={self.console}", *words, _PATIENCE])
        own = [one.format(files=files, disk=disk) for one in self.options]
        return [
            *(_QEMU, "-machine", self.name, *own),
            *("-kernel", f"{files}/vmlinuz", "-initrd", f"{files}/initrd.img", "-append", append),
            *("-display", "none", "-monitor", "none", "-serial", f"file:{console}", "-no-reboot"),
        ]


MACHINES = {
    machine.name: machine
    for machine in (
        Machine(
            name="virt",
            files=("vmlinuz", "initrd.img"),
            console="ttyAMA0",
            options=(
                *("-cpu", "cortex-a72", "-smp", "2", "-m", "1024"),
                *("-drive", "if=virtio,format=qcow2,file={disk}"),
                *("-nic", "user,model=virtio-net-pci"),
            ),
        ),
        Machine(
            name="raspi3b",
            files=("vmlinuz", "initrd.img", _PI3),
            console="ttyAMA0,115200",
            options=(
                *("-smp", "4", "-m", "1024", "-dtb", f"{{files}}/{_PI3}"),
                *("-drive", "if=sd,format=qcow2,file={disk}"),
                *("-netdev", "user,id=net", "-device", "usb-net,netdev=net"),
            ),
        ),
    )
}


@contextmanager
def started(
    machine: Machine, *, image: Path, files: Path, line: str, work: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start an image; it is not changed, and the machine is stopped when the block ends.

    Args:
        machine: On what.
        image: The image, not compressed.
        files: Folder with what the machine takes from the boot partition.
        line: The kernel's command line.
        work: Folder for the disk and the console, ``console.txt``.

    Yields:
        QEMU's process.

    Raises:
        MissingExtraError: QEMU is not installed.
        ImageError: It does not start.
    """
    program = find_program(_QEMU)
    if program is None:
        raise MissingExtraError(
            f"{_QEMU} is not installed", "sudo apt install qemu-system-arm qemu-utils"
        )
    disk = work / "disk.qcow2"
    over = ["-b", str(image.absolute()), "-F", "raw"]
    made = run_program(["qemu-img", "create", "-q", "-f", "qcow2", *over, str(disk), _CARD])
    if made.code:
        raise ImageError(f"qemu-img failed: {made.said}")
    command = machine.command(files=files, disk=disk, line=line, console=work / "console.txt")
    with (work / "qemu.txt").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
