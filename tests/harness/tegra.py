"""Trees laid out as NVIDIA's ``Linux_for_Tegra`` is, with none of its files."""

from __future__ import annotations

from pathlib import Path

from harness.raspios import elf, write_files

RELEASE = (
    "# R{major} (release), REVISION: {revision}, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n"
    "TARGET_USERSPACE_LIB_DIR=nvidia\nTARGET_USERSPACE_LIB_DIR_PATH=usr/lib/aarch64-linux-gnu/nvidia\n"
)


def make_tegra(
    folder: Path,
    *,
    major: int = 36,
    revision: str = "4.3",
    python: str = "3.10",
    machine: int = 0xB7,
) -> Path:
    """A driver package whose root file system has been through apply_binaries.sh."""
    root_files = {
        "etc/nv_tegra_release": RELEASE.format(major=major, revision=revision),
        "usr/bin/python3": (f"python{python}",),
        f"usr/bin/python{python}": elf(64, machine),
        "usr/lib/systemd/system/nvpmodel.service": "[Service]\nExecStart=/usr/sbin/nvpmodel\n",
        "etc/systemd/system/multi-user.target.wants/nvpmodel.service": (
            "/etc/systemd/system/nvpmodel.service",
        ),
        # As in Ubuntu, where these are links.
        "lib": ("usr/lib",),
        "bin": ("usr/bin",),
    }
    write_files(folder / "rootfs", root_files)
    files = {
        "apply_binaries.sh": "#!/bin/bash\n",
        "jetson-orin-nano-devkit.conf": "",
        "jetson-agx-orin-devkit.conf": "",
        "tools/l4t_create_default_user.sh": "#!/bin/bash\n",
        "tools/kernel_flash/l4t_initrd_flash.sh": "#!/bin/bash\n",
        "tools/kernel_flash/flash_l4t_t234_nvme.xml": "",
        "bootloader/generic/cfg/flash_t234_qspi.xml": "",
    }
    write_files(folder, files)
    return folder
