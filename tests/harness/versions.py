"""A board with versions of slfac, small ones, and what its systemd would do."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from slfac.device.image.layer.tree import Tree
from slfac.device.image.update.versions import MANIFEST, Board, run_program

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
GOOD = [{"level": "ok", "name": name, "found": ""} for name in ("encryption", "inference")]
_SCRIPT = """\
#!/bin/sh
printf '%s' '{said}'
exit {code}
"""


def version_tree(
    release: str = "0.1.0",
    *,
    findings: Sequence[dict[str, str]] = GOOD,
    says: str = "",
    code: int = 0,
    more: str = "",
    **changes: object,
) -> Tree:
    """A version whose command says what it is told to.

    Args:
        release: The release it says it is.
        findings: Of its doctor.
        says: What it prints instead of the doctor's object.
        code: Exit code of the doctor.
        more: What one of its files holds.
        changes: Other fields of its manifest.
    """
    tree = Tree()
    said = says or json.dumps({"slfac": release, "findings": list(findings)})
    tree.file("bin/slfac", _SCRIPT.format(said=said, code=code), 0o755)
    tree.file("lib/slfac/__init__.py", f'__version__ = "{release}"\n{more}')
    tree.file("lib/other/data.bin", bytes(range(256)) * 8)
    described = {
        "schema": 1,
        "version": f"{release}-test",
        "slfac": release,
        "python": PYTHON,
        "machine": platform.machine(),
        "files": {
            path: hashlib.sha256(entry.data).hexdigest()
            for path, entry in tree.entries.items()
            if entry.kind == "file"
        },
    }
    tree.file(MANIFEST, json.dumps({**described, **changes}))
    return tree


class VersionedBoard(Board):
    """A board as a folder.

    Args:
        root: Where to make its system.
        systemd: Whether systemd runs on it.
    """

    def __init__(self, root: Path, *, systemd: bool = True) -> None:
        super().__init__(root, self._run)
        root.mkdir(parents=True, exist_ok=True)
        if systemd:
            (root / "run/systemd/system").mkdir(parents=True)
        #: Releases with which the service does not start.
        self.stuck: set[str] = set()
        self.up = ""
        self.ran: list[list[str]] = []
        self.packages: list[Path] = []

    def unpacked(self, tree: Tree) -> Path:
        """What dpkg has unpacked."""
        folder = self.root / "usr/lib/slfac" / f"layer{len(self.packages)}"
        folder.mkdir(parents=True)
        self.packages.append(folder)
        tree.write(folder)
        return folder

    def release(self, link: str = "current") -> str | None:
        """The release that a link names."""
        version = self.linked(link)
        if version is None:
            return None
        return str(json.loads((version / MANIFEST).read_text())["slfac"])

    def _run(self, command: Sequence[str]) -> tuple[int, str]:
        self.ran.append(list(command))
        if command[0] == "systemctl":
            return (0 if self.up else 3), ""
        if command[0] == "deb-systemd-invoke":
            release = self.release() or ""
            self.up = "" if release in self.stuck else release
            return (0 if self.up else 1), ""
        return run_program(command)
