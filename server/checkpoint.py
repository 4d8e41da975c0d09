"""Checkpoints: everything the server has learned, on disk whole or not at all.

``checkpoint/round-000003/`` holds ``front.safetensors``, ``back.safetensors``,
``optimizer.safetensors``, the last round's replies (:mod:`slfac.server.kept`), ``kept.json``, which
says where in their files they lie, and ``state.json``, with the size and hash of every other file
but the replies', which have sums of their own, and a hash of its own values. It is written under
another name, synced, and renamed; the two newest of a run are kept, and the one that
``checkpoint/best`` links to.

``optimizer.safetensors`` holds the torch optimiser's state (:mod:`slfac.server.optim_state`), and
``optimizer`` in ``state.json`` the settings of its parameter groups. ``rng.torch`` beside them is
the state of torch's generator. A mode that holds more than one back half adds ``mode.safetensors``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch

from slfac.server.kept import KeptReplies
from slfac.server.metrics import finite_or_null
from slfac.server.modes.base import Mode
from slfac.server.optim_state import flatten_optimizer
from slfac.wire.bundle import BACK_FILE, FRONT_FILE, State, pack_state
from slfac.wire.errors import TrainingError

OPTIMIZER_FILE = "optimizer.safetensors"
MODE_FILE = "mode.safetensors"
STATE_FILE = "state.json"
KEPT_FILE = "kept.json"
SUM_FIELD = "sha256"
BEST_NAME = "best"
_KEEP = 2
_UNFINISHED = ".round-"


def write_checkpoint(
    folder: Path,
    *,
    finished_rounds: int,
    front: State,
    mode: Mode,
    kept: KeptReplies,
    facts: dict[str, Any],
) -> Path:
    """Write a checkpoint at the end of a round, or before the first.

    Args:
        folder: The run's output folder.
        finished_rounds: Rounds behind it.
        front: The averaged front.
        mode: The way of split learning, with its back half and optimiser.
        kept: What the devices were answered in the round behind it.
        facts: Anything else that JSON can hold (run id, bundle id, seed, score); a number
            that is not finite becomes null.

    Returns:
        The checkpoint's folder.

    Raises:
        TrainingError: It cannot be written.
    """
    parent = folder / "checkpoint"
    target = parent / f"round-{finished_rounds:06d}"
    back = mode.back
    tensors, groups = flatten_optimizer(back.optimizer)
    state = {**facts, "finished_rounds": finished_rounds, "optimizer": groups}
    tensors["rng.torch"] = torch.get_rng_state()
    if back.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(back.device)
    files = {
        FRONT_FILE: pack_state(front),
        BACK_FILE: safetensors.torch.save(_contiguous(back.module.state_dict())),
        OPTIMIZER_FILE: safetensors.torch.save(_contiguous(tensors)),
    }
    if held := mode.state():
        files[MODE_FILE] = safetensors.torch.save(_contiguous(held))
    try:
        _replace(target, files, state, kept, finished_rounds - 1)
    except OSError as error:
        raise TrainingError(
            f"cannot write checkpoint {target}: {error.strerror}", "free some space"
        ) from error
    # One too many is no failure: the next round tries again.
    with contextlib.suppress(OSError):
        _prune(target)
    return target


def state_sum(state: Mapping[str, Any]) -> str:
    """Hash of what ``state.json`` says, however it is laid out.

    Args:
        state: Its values, that hash left out.

    Returns:
        SHA-256, in hexadecimal.
    """
    # Keys sort in another order as long as they are no text yet.
    plain = json.loads(json.dumps(state, allow_nan=False))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def mark_best(checkpoint: Path) -> None:
    """Let ``checkpoint/best`` link to a checkpoint, in one instant.

    Args:
        checkpoint: Its folder, as :func:`write_checkpoint` gave it.

    Raises:
        TrainingError: The link cannot be made; an earlier one is still there.
    """
    link = checkpoint.parent / BEST_NAME
    fresh = checkpoint.parent / f".{BEST_NAME}"
    try:
        # A server that was killed may have left it.
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(checkpoint.name)
        fresh.replace(link)
        _sync_folder(checkpoint.parent)
    except OSError as error:
        raise TrainingError(
            f"cannot link {link} to {checkpoint.name}: {error.strerror}",
            "use a file system with symbolic links, and free some space",
        ) from error


def _prune(newest: Path) -> None:
    # Those of later rounds are an earlier run's: this one has not got there yet.
    ours = sorted(path for path in newest.parent.glob("round-*") if path.name <= newest.name)
    link = newest.parent / BEST_NAME
    best = link.readlink().name if link.is_symlink() else ""
    old = [path for path in ours[:-_KEEP] if path.name != best]
    # A server that was killed in the middle of one could not clear up.
    for path in [*old, *newest.parent.glob(f"{_UNFINISHED}*")]:
        shutil.rmtree(path, ignore_errors=True)


def _replace(
    target: Path, files: dict[str, bytes], state: dict[str, Any], kept: KeptReplies, round_: int
) -> None:
    parent = target.parent
    parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=parent))
    try:
        files = {**files, KEPT_FILE: msgspec.json.encode(kept.seal(round_, fresh))}
        sums = {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in files.items()
        }
        whole = finite_or_null({**state, "files": sums})
        whole[SUM_FIELD] = state_sum(whole)
        files[STATE_FILE] = json.dumps(whole, indent=2, allow_nan=False).encode()
        for name, data in files.items():
            _write(fresh / name, data)
        fresh.chmod(0o755)
        _sync_folder(fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        _sync_folder(parent)
    finally:
        # Nothing is left of it after the rename; a failed one must not fill the disk.
        shutil.rmtree(fresh, ignore_errors=True)


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # Cloned, because safetensors refuses weights that two layers share.
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
