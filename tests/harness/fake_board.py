"""A board's system as a folder, and what its programs would do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from slfac.device.image.board import firstboot

USERS = """\
root:x:0:0:root:/root:/bin/bash
slfac:x:998:998:slfac agent:/var/lib/slfac:/usr/sbin/nologin
pi:x:1000:1000:,,,:/home/pi:/bin/bash
"""


class FakeBoard:
    """A board that was never started.

    Args:
        root: Where to make its system.
        wifi: What runs its Wi-Fi.
    """

    def __init__(self, root: Path, *, wifi: str = "wpa_supplicant") -> None:
        self.root = root
        self.ran: list[list[str]] = []
        self.codes: dict[str, int] = {}
        self.put("etc/passwd", USERS)
        self.put("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\tslfac\n")
        self.put("etc/hostname", "slfac\n")
        self.put("etc/fstab", "LABEL=root / ext4 defaults 0 1\n")
        self.put("usr/share/zoneinfo/Europe/Berlin", "TZif")
        self.put("proc/sys/kernel/hostname", "slfac")
        self.put(f"usr/sbin/{wifi}", "")
        self.boot = root / "boot" / "firmware" / "slfac"
        self.boot.mkdir(parents=True)

    def put(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def inject(self, data: bytes | dict[str, object]) -> Path:
        """Lay settings onto the boot partition."""
        path = self.boot / "device.json"
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return path

    def run(self, command: Sequence[str]) -> int:
        """Do what a program would, as far as somebody looks at it."""
        self.ran.append(list(command))
        name = Path(command[0]).name
        if name == "slfac" and not self.codes.get(name):
            from slfac.wire.keys import new_keys

            new_keys(Path(command[command.index("--dir") + 1]), "device")
        return self.codes.get(name, 0)

    def start(self) -> list[str]:
        """Start it; what went wrong."""
        return firstboot.set_up(firstboot.Board(self.root, self.run))

    def read(self, name: str) -> str:
        """A file's text."""
        return (self.root / name).read_text()

    def tree(self) -> dict[str, str]:
        """Every file, and where links lead."""
        return {
            str(path.relative_to(self.root)): str(path.readlink())
            if path.is_symlink()
            else f"{path.stat().st_mode & 0o777:o} {path.read_text('utf-8', 'replace')}"
            for path in sorted(self.root.rglob("*"))
            if path.is_symlink() or path.is_file()
        }
