#!/usr/bin/python3
"""Writes down anew what a version holds, once its onnxruntime is another: its manifest.

By it a board knows what it goes back to. Python's standard library only, 3.10 or later.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

MANIFEST = "manifest.json"


def describe(folder: Path, name: str) -> None:
    """Write the manifest of a version.

    Args:
        folder: The version, with the manifest of the one that it was copied from.
        name: What it is called.
    """
    told = json.loads((folder / MANIFEST).read_bytes())
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    fresh = folder / f".{MANIFEST}.new"
    fresh.write_text(json.dumps({**told, "version": name, "files": files}, indent=1) + "\n")
    fresh.replace(folder / MANIFEST)


def main() -> int:
    """Run it.

    Returns:
        0 if it is written.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the version")
    parser.add_argument("name", help="what it is called")
    args = parser.parse_args()
    try:
        describe(args.folder, args.name)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"slfac: {args.folder} cannot be described: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
