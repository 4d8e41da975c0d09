"""Reads a run's checkpoint against the bundle that the run trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from slfac.wire.bundle import BACK_FILE, FRONT_FILE, Bundle, State, check_front_state
from slfac.wire.errors import BundleError

_STATE_FILE = "state.json"
_MAX_STATE_BYTES = 1 << 20
_REMEDY = "give the folder checkpoint of a run, or best or one of the rounds in it"


@dataclass(frozen=True)
class Checkpoint:
    """What a run had learned at the end of a round.

    Attributes:
        path: The round's folder.
        finished_rounds: Rounds behind it.
        front: Parameters and buffers of the averaged front, by name.
    """

    path: Path
    finished_rounds: int
    front: State

    def back(self) -> State:
        """Parameters and buffers of the back half, by name.

        Raises:
            BundleError: The file is missing, cannot be read, or holds a value that is not
                finite.
        """
        return _load(self.path / BACK_FILE)


def open_checkpoint(path: Path, bundle: Bundle) -> Checkpoint:
    """Open a checkpoint of a run that trained a bundle.

    Args:
        path: A round's folder, a link to one (``checkpoint/best``), or the folder of all
            rounds, of which the last is taken.
        bundle: The bundle.

    Returns:
        The checkpoint, its front read and checked.

    Raises:
        BundleError: There is no checkpoint, it is another bundle's, or its front cannot be
            read or does not fit.
    """
    folder = _round_folder(path)
    state = _read_state(folder / _STATE_FILE)
    trained, rounds = state.get("bundle"), state.get("finished_rounds")
    if trained != bundle.id:
        raise BundleError(
            f"checkpoint {folder} is of bundle {str(trained)[:12]}, "
            f"and {bundle.path} is {bundle.id[:12]}",
            "give the bundle that the run trained: its metrics.jsonl names it",
        )
    if not isinstance(rounds, int):
        raise BundleError(f"{folder / _STATE_FILE}: finished_rounds is {rounds!r}", _REMEDY)
    front = _load(folder / FRONT_FILE)
    try:
        check_front_state(bundle.manifest, front)
    except BundleError as error:
        raise BundleError(f"checkpoint {folder}: {error.what}", _REMEDY) from error
    return Checkpoint(folder, rounds, front)


def _round_folder(path: Path) -> Path:
    try:
        if (path / _STATE_FILE).exists():
            # A link to the best round may be moved while its files are read.
            return path.resolve() if path.is_symlink() else path
        rounds = sorted(path.glob("round-*"))
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}", _REMEDY) from error
    if not rounds:
        raise BundleError(f"{path} holds no checkpoint", _REMEDY)
    return rounds[-1]


def _read_state(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_STATE_BYTES:
            raise BundleError(f"{path} is missing, or no file of a checkpoint", _REMEDY)
        state = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read: {error}", _REMEDY) from error
    if not isinstance(state, dict):
        raise BundleError(f"{path} holds no object", _REMEDY)
    return state


def _load(path: Path) -> State:
    try:
        if not path.is_file():
            raise BundleError(f"checkpoint {path.parent} lacks {path.name}", _REMEDY)
        state: State = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}", _REMEDY) from error
    for name, value in state.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise BundleError(
                f"{path}: {name!r} holds values that are not finite", "give an earlier round"
            )
    return state
