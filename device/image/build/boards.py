"""What differs from board to board: what lies on the boot partition, and where consoles are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Where to, a name or a folder, and what of the base.
Copies = tuple[tuple[str, str], ...]
_KERNEL: Copies = (("vmlinuz", "boot/vmlinuz-*"), ("initrd.img", "boot/initrd.img-*"))
_FIRMWARE: Copies = (
    ("./", "usr/lib/raspi-firmware/*.*"),
    ("overlays/", "usr/lib/raspi-firmware/overlays/*"),
    ("./", "usr/lib/modules/*/dtb/broadcom/bcm27*.dtb"),
    ("./", "usr/lib/modules/*/dtb/broadcom/bcm28*.dtb"),
)
# Ours, not that of raspi-firmware's hook: that writes cma=64M, fatal on a Pi 4 as it says itself.
_CONFIG = """\
# Written by slfac image build. https://www.raspberrypi.com/documentation/computers/config_txt.html
arm_64bit=1
kernel=vmlinuz
initramfs initrd.img followkernel
# Device trees by the names of the kernel's own sources.
upstream_kernel=1
enable_uart=1
disable_splash=1
"""


@dataclass(frozen=True)
class BoardImage:
    """What an image for a board is made of.

    Attributes:
        name: ``rpi`` or ``qemu``.
        title: What it starts.
        boot: Where files of the base go on the boot partition.
        files: More files there, with what they hold.
        consoles: Where the kernel writes, the last one being where it also reads.
    """

    name: str
    title: str
    boot: Copies
    files: Mapping[str, str]
    consoles: tuple[str, ...]

    def command_line(self, root: str) -> str:
        """The kernel's command line.

        Args:
            root: ``PARTUUID`` of the root partition.
        """
        words = [f"console={console}" for console in self.consoles]
        # Names such as eth0 are the same on all boards.
        words += [f"root=PARTUUID={root}", "rw", "rootwait", "fsck.repair=yes", "net.ifnames=0"]
        return " ".join(words)


BOARDS = {
    board.name: board
    for board in (
        BoardImage(
            name="rpi",
            title="Raspberry Pi 3, 4, 5 and Zero 2 W",
            boot=(*_KERNEL, *_FIRMWARE),
            files={"config.txt": _CONFIG},
            consoles=("ttyS1,115200", "ttyAMA10,115200", "tty0"),
        ),
        BoardImage(
            name="qemu",
            title="QEMU's machine virt",
            boot=_KERNEL,
            files={},
            consoles=("ttyAMA0",),
        ),
    )
}
