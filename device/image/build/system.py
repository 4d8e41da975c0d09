"""What makes a base of Debian's packages the system of a board, apart from slfac itself."""

from __future__ import annotations

from collections.abc import Sequence

from slfac.device.image.build.layout import BOOT, ROOT, partuuid
from slfac.device.image.layer.tree import Tree

_WANTS = "etc/systemd/system/{target}.wants/{unit}"
_UNITS = "/usr/lib/systemd/system"
_ENABLED = {
    "systemd-networkd.service": "multi-user.target",
    "systemd-resolved.service": "multi-user.target",
    "systemd-timesyncd.service": "sysinit.target",
    "ssh.service": "multi-user.target",
}
_NETWORK = """\
[Match]
Name={names}

[Link]
RequiredForOnline=no

[Network]
DHCP=yes
MulticastDNS=yes

[DHCPv4]
RouteMetric={metric}
"""
_SSH = """\
# Keys only: no password is ever asked for, and root has none.
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
# A card that is copied must not give its keys away: each board makes its own.
_SSH_KEYS = """\
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
"""
# Boards without a clock start in the past; certificates and logs want the present.
_CLOCK = "[Time]\nSaveIntervalSec=60\n"
# A card wears out by writing; a week of this is enough to find out what went wrong.
_JOURNAL = "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nSyncIntervalSec=5min\n"


def system_tree(signature: int, name: str, sources: Sequence[str]) -> Tree:
    """Files of the root file system of an image.

    Args:
        signature: The disk's number.
        name: Hostname until the first boot gives it another.
        sources: Lines of its list of archives.
    """
    tree = Tree()
    root, boot = partuuid(signature, ROOT), partuuid(signature, BOOT)
    tree.file(
        "etc/fstab",
        f"PARTUUID={root} / ext4 defaults,noatime 0 1\n"
        # Without the boot partition a board still trains.
        f"PARTUUID={boot} /boot/firmware vfat defaults,nofail,umask=0077 0 2\n",
    )
    tree.file("etc/apt/sources.list", "".join(f"{line}\n" for line in sources))
    tree.file("etc/hostname", f"{name}\n")
    tree.file("etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")
    tree.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    for order, names, metric in (("20-wired", "en* eth* usb*", 100), ("25-wireless", "wl*", 600)):
        tree.file(
            f"etc/systemd/network/{order}.network", _NETWORK.format(names=names, metric=metric)
        )
    tree.file("etc/ssh/sshd_config.d/10-slfac.conf", _SSH, 0o600)
    tree.file("etc/systemd/system/ssh.service.d/keys.conf", _SSH_KEYS)
    tree.file("etc/systemd/timesyncd.conf.d/slfac.conf", _CLOCK)
    tree.file("etc/systemd/journald.conf.d/slfac.conf", _JOURNAL)
    for unit, target in _ENABLED.items():
        tree.link(_WANTS.format(target=target, unit=unit), f"{_UNITS}/{unit}")
    return tree
