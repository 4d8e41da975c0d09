"""Makes a root file system out of archives; runs alone, as root of a namespace of its own.

It is copied beside its work and run by any Python 3 of the machine, for in the namespace it may
not be allowed to read the folder that slfac is installed in. Standard library only.

Usage: ``assemble.py WORK``, with the base's archive as standard input. In WORK it reads
``assemble.json`` and ``layer.tar``, and leaves ``root.ext4`` and ``boot/``.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 4096
# Room for what the first boot writes before the partition has grown.
_SPARE_BYTES = 64 << 20
_TIMES = ("atime", "ctime", "mtime", "crtime")
# The root's, the journal's, lost+found's and those that ext4 keeps for itself.
_OWN_INODES = 11


def main() -> int:
    """Run it.

    Returns:
        The exit code.
    """
    work = Path(sys.argv[1])
    spec = json.loads((work / "assemble.json").read_text(encoding="utf-8"))
    root = work / "root"
    root.mkdir(mode=0o755)
    try:
        _fill(root, work / "layer.tar")
        _take_boot(root, work / "boot", spec["boot"])
        for name, path in spec["take"].items():
            shutil.copyfile(root / path, work / name)
        for path in spec["remove"]:
            _remove(root / path)
        _clamp(root, spec["time_s"])
        _ext4(root, work / "root.ext4", spec)
    finally:
        # Outside of the namespace nobody could.
        shutil.rmtree(root)
    return 0


def _fill(root: Path, layer: Path) -> None:
    for archive in ("/dev/stdin", str(layer)):
        subprocess.run(
            [
                "tar",
                "--extract",
                "--numeric-owner",
                "--xattrs-include=*",
                # Nobody may make devices in a namespace, and the kernel makes them at each boot.
                "--exclude=./dev/*",
                f"--file={archive}",
                f"--directory={root}",
            ],
            check=True,
        )


def _take_boot(root: Path, boot: Path, files: list[list[str]]) -> None:
    """Copy what the boot partition holds; a pattern may fit one file or many."""
    boot.mkdir(mode=0o755)
    for target, pattern in files:
        found = sorted(root.glob(pattern))
        if not found:
            raise SystemExit(f"the base has no {pattern}")
        for path in found:
            to = boot / target / path.name if target.endswith("/") else boot / target
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
            to.chmod(0o644)
    # Whoever has called this must be able to delete them.
    for folder in (boot, *(found for found in boot.rglob("*") if found.is_dir())):
        folder.chmod(0o777)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _ext4(root: Path, target: Path, spec: dict[str, Any]) -> None:
    used = _used(root)
    size = -(-(used + used // 8 + _SPARE_BYTES) // (4 << 20)) * (4 << 20)
    target.touch()
    os.truncate(target, size)
    target.chmod(0o644)
    command = [
        *("mke2fs", "-q", "-F", "-t", "ext4", "-d", str(root), "-L", "slfac-root"),
        *("-U", spec["uuid"], "-E", f"hash_seed={spec['uuid']},root_owner=0:0,lazy_itable_init=0"),
        *("-b", str(_BLOCK_BYTES), "-m", "1", str(target)),
    ]
    subprocess.run(
        command, check=True, env={**os.environ, "E2FSPROGS_FAKE_TIME": str(spec["time_s"])}
    )
    _same_times(target, spec["time_s"])


def _clamp(root: Path, time_s: int) -> None:
    """Date back what was changed just now."""
    for folder, names, files in os.walk(root, topdown=False):
        for name in (*names, *files):
            _date_back(os.path.join(folder, name), time_s)
    _date_back(str(root), time_s)


def _date_back(path: str, time_s: int) -> None:
    if os.lstat(path).st_mtime > time_s:
        os.utime(path, (time_s, time_s), follow_symlinks=False)


def _same_times(target: Path, time_s: int) -> None:
    """Give all inodes the same times: mke2fs takes those that only the kernel can set."""
    env = {**os.environ, "E2FSPROGS_FAKE_TIME": str(time_s)}
    told = subprocess.run(
        ["dumpe2fs", "-h", str(target)], check=True, capture_output=True, text=True
    ).stdout
    fields = dict(line.partition(":")[::2] for line in told.splitlines() if ":" in line)
    used = int(fields["Inode count"]) - int(fields["Free inodes"])
    lines = [f"set_super_value {name} @{time_s}" for name in ("mkfs_time", "lastcheck", "wtime")]
    for inode in range(1, used + 1):
        # The first eleven are those of mke2fs itself.
        names = ("atime", "ctime", "crtime", *(("mtime",) if inode <= _OWN_INODES else ()))
        lines += [f"set_inode_field <{inode}> {name} @{time_s}" for name in names]
        lines += [f"set_inode_field <{inode}> {name}_extra 0" for name in _TIMES]
    script = target.with_suffix(".debugfs")
    script.write_text("\n".join(lines) + "\n", encoding="ascii")
    command = ["debugfs", "-w", "-f", str(script), str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    failed = [line for line in done.stderr.splitlines() if not line.startswith("debugfs 1")]
    if failed:
        raise SystemExit(f"debugfs: {failed[0]}")


def _used(root: Path) -> int:
    """Bytes that files take, each in whole blocks, and hard links once."""
    seen, total = set(), 0
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            told = os.lstat(os.path.join(folder, name))
            if told.st_ino not in seen:
                seen.add(told.st_ino)
                total += _BLOCK_BYTES + -(-told.st_size // _BLOCK_BYTES) * _BLOCK_BYTES
    return total


if __name__ == "__main__":
    raise SystemExit(main())
