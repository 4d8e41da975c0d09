"""What a base is made of: the release of Debian, its archives and packages."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

#: What mmdebstrap runs on the way.
HOOKS = Path(__file__).parent / "hooks"
_KEYS = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"
_MIRROR = "http://deb.debian.org/debian"
_SECURITY = "http://deb.debian.org/debian-security"
_PARTS = "main non-free-firmware"
# 6.12, trixie's own kernel, lacks the drivers of the Pi 5's RP1 chip; that of backports has them.
_KERNEL = "linux-image-arm64/trixie-backports"
_PACKAGES = (
    *("systemd", "systemd-sysv", "systemd-timesyncd", "systemd-resolved", "udev", "dbus"),
    *("kmod", "initramfs-tools", "zstd", "e2fsprogs", "dosfstools", "fdisk"),
    *("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1", "ca-certificates"),
    *("openssh-server", "iproute2", "iputils-ping", "netbase", "tzdata", "libnss-myhostname"),
    *("wpasupplicant", "wireless-regdb", "firmware-brcm80211", "raspi-firmware"),
    *("sudo", "procps", "less", "nano-tiny"),
)
# Pages and translations that nobody reads on a board without a screen, and drivers of what no
# Raspberry Pi has.
_LEFT_OUT = (
    *(f"/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")),
    *(
        f"/usr/lib/modules/*/kernel/drivers/gpu/drm/{name}/*"
        for name in ("amd", "i915", "msm", "nouveau", "radeon", "xe")
    ),
    *(f"/usr/lib/modules/*/kernel/drivers/{name}/*" for name in ("infiniband", "media", "staging")),
    "/usr/lib/modules/*/kernel/sound/*",
    "/usr/lib/modules/*/dtb/*",
)
_KEPT = ("/usr/lib/modules/*/dtb/broadcom/*",)


@dataclass(frozen=True)
class Recipe:
    """What a base is made of.

    Attributes:
        suite: The release of Debian.
        abi: The Python of that release, as wheels call it.
        sources: Lines of its list of archives.
        packages: What is installed besides what every Debian has.
        options: More options of mmdebstrap.
        variant: What mmdebstrap begins with: ``minbase``, or ``extract``, which only unpacks.
        hooks: A folder with what mmdebstrap runs on the way.
    """

    suite: str
    abi: str
    sources: tuple[str, ...]
    packages: tuple[str, ...]
    options: tuple[str, ...]
    variant: Literal["minbase", "extract"] = "minbase"
    hooks: Path = field(default=HOOKS, repr=False)

    @property
    def digest(self) -> str:
        """Another one for whatever makes another base."""
        told = hashlib.sha256(repr(self).encode())
        for hook in sorted(self.hooks.iterdir()):
            told.update(hook.read_bytes())
        return told.hexdigest()

    @property
    def wanted(self) -> tuple[str, ...]:
        """What apt is asked for: what mmdebstrap takes of itself, and the packages."""
        if self.variant == "extract":
            return self.packages
        release = f"?or(?archive(^{self.suite}$),?codename(^{self.suite}$)),?architecture(arm64)"
        kinds = ("?essential", "?and(?priority(required),?not(?essential))")
        return (*(f"?narrow({release},{kind})" for kind in kinds), *self.packages)

    def command(self, *, sources: Path, hooks: Path, target: Path) -> list[str]:
        """How mmdebstrap is called.

        Args:
            sources: A file with the lines of the list of archives.
            hooks: A folder with the hooks that everybody may read.
            target: The archive to write.
        """
        # The archive that it installs from has one version of each, whatever suite it came from.
        names = ",".join(name.partition("/")[0] for name in self.packages)
        return [
            *("mmdebstrap", "--mode=unshare", f"--variant={self.variant}", "--arch=arm64"),
            *("--format=tar", f"--include={names}", *self.options),
            *(f"--hook-dir={hooks}", self.suite, str(target), str(sources)),
        ]


def trixie() -> Recipe:
    """Debian 13, with the kernel of its backports."""
    archives = ("trixie", "trixie-updates", "trixie-backports")
    return Recipe(
        suite="trixie",
        abi="cp313",
        sources=(
            *(f"deb [{_KEYS}] {_MIRROR} {suite} {_PARTS}" for suite in archives),
            f"deb [{_KEYS}] {_SECURITY} trixie-security {_PARTS}",
        ),
        packages=(_KERNEL, *_PACKAGES),
        options=(
            # A question of dpkg in the middle of the night would stop the build.
            "--dpkgopt=force-confold",
            *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
            *(f"--dpkgopt=path-include={path}" for path in _KEPT),
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Retries "3"',
        ),
    )
