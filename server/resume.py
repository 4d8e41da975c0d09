"""Takes up a run where its newest whole checkpoint left it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import safetensors
import safetensors.torch
import torch

from slfac.server.back import BackHalf
from slfac.server.checkpoint import (
    KEPT_FILE,
    MODE_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    SUM_FIELD,
    state_sum,
)
from slfac.server.kept import KeptReplies, Place, check_sealed
from slfac.server.ledger import DeviceTotals
from slfac.server.metrics import METRICS_NAME
from slfac.server.modes.base import Mode
from slfac.server.optim_state import load_optimizer
from slfac.server.result import RoundResult
from slfac.wire.bundle import BACK_FILE, FRONT_FILE, Bundle, State, unpack_state
from slfac.wire.errors import BundleError, SettingsError
from slfac.wire.meter import Traffic

RANK_PREFIX = "rank-"
_FOLDERS = "checkpoint/round-*"
_LAST_LINE_BYTES = 4096
_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Standing:
    """Where a run stands between two rounds, as ``state.json`` has it.

    Attributes:
        run: Its id.
        bundle: Id of its bundle.
        settings: The server's settings, as JSON values.
        names: Names of its devices, by index.
        members: Devices that are in its next round.
        rounds: Its finished rounds.
        totals: Sums over steps, by device.
        traffic: What crossed the sockets, by device.
        codecs: State of each stream's codec, ``device/layer`` -> state.
        best: What the watch over its scores has seen; for people, since the scores tell it too.
        metrics_bytes: Bytes of its metrics.
    """

    run: str
    bundle: str
    settings: dict[str, Any]
    names: tuple[str, ...]
    members: tuple[int, ...]
    rounds: tuple[RoundResult, ...]
    totals: dict[str, DeviceTotals]
    traffic: dict[str, Traffic]
    codecs: dict[str, Any]
    best: dict[str, Any]
    metrics_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Values for :func:`slfac.server.checkpoint.write_checkpoint`."""
        return asdict(self)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found whole.

    Attributes:
        path: Its folder.
        standing: Where the run stood.
        groups: Settings of the optimiser's parameter groups.
    """

    path: Path
    standing: Standing
    groups: list[dict[str, Any]]

    def without(self, devices: Collection[int]) -> Checkpoint:
        """The same, with devices that are not waited for.

        Args:
            devices: Their indices.
        """
        members = tuple(index for index in self.standing.members if index not in devices)
        return replace(self, standing=replace(self.standing, members=members))

    def front(self, bundle: Bundle) -> State:
        """The averaged front.

        Args:
            bundle: The bundle that the run trains.

        Raises:
            BundleError: It does not fit the bundle.
        """
        return unpack_state(bundle.manifest, (self.path / FRONT_FILE).read_bytes())

    def restore_back(self, back: BackHalf) -> None:
        """Give a back half its weights, its optimiser's state, and torch's generators theirs.

        Args:
            back: The back half.

        Raises:
            BundleError: They do not fit it.
        """
        try:
            back.module.load_state_dict(safetensors.torch.load_file(self.path / BACK_FILE))
            tensors = safetensors.torch.load_file(self.path / OPTIMIZER_FILE)
            torch.set_rng_state(tensors.pop("rng.torch"))
            if "rng.cuda" in tensors:
                torch.cuda.set_rng_state(tensors.pop("rng.cuda"), back.device)
            load_optimizer(back.optimizer, tensors, self.groups)
        except (RuntimeError, ValueError, KeyError, OSError, safetensors.SafetensorError) as error:
            raise BundleError(
                f"checkpoint {self.path} does not fit its back half: {error}",
                "use the model's code and the versions of torch as they were",
            ) from error

    def restore_mode(self, mode: Mode) -> None:
        """Give a mode what it holds beside the back half.

        Args:
            mode: The mode.

        Raises:
            BundleError: It does not fit.
        """
        path = self.path / MODE_FILE
        try:
            mode.restore(safetensors.torch.load_file(path) if path.exists() else {})
        except (RuntimeError, ValueError, KeyError, OSError, safetensors.SafetensorError) as error:
            raise BundleError(
                f"checkpoint {self.path} does not fit mode {mode.kind.name}: {error}",
                "use the versions of slfac and torch as they were",
            ) from error

    def restore_kept(self, kept: KeptReplies) -> None:
        """Give back what the devices were answered in the last round.

        Args:
            kept: Where it goes.

        Raises:
            BundleError: It cannot be read.
        """
        data = (self.path / KEPT_FILE).read_bytes()
        kept.adopt(self.path, msgspec.json.decode(data, type=dict[str, list[Place]]))


def newest_checkpoint(out: Path) -> Checkpoint:
    """Find the newest checkpoint of a run that is whole.

    Args:
        out: The run's folder.

    Returns:
        The checkpoint; of those that are damaged, which ones and why is logged.

    Raises:
        SettingsError: There is none.
    """
    return _newest(out, _read)


def whole_checkpoints(out: Path) -> Iterator[Checkpoint]:
    """The checkpoints of a run that are whole, the newest first.

    Args:
        out: The run's folder.

    Returns:
        Each; of those that are damaged, which ones and why is logged.
    """
    return _readable(out, _read)


def newest_standing(out: Path) -> Standing:
    """Where a run stands by its newest checkpoint, whose other files are not looked at.

    Args:
        out: The run's folder.

    Returns:
        The standing.

    Raises:
        SettingsError: There is none that can be read.
    """
    return _newest(out, lambda folder: _standing(_read_state(folder)))


def _newest(out: Path, read: Callable[[Path], T]) -> T:
    for found in _readable(out, read):
        return found
    what = "only damaged checkpoints" if any(out.glob(_FOLDERS)) else "no checkpoint"
    raise SettingsError(
        f"setting resume is {str(out)!r}, which holds {what}",
        "start a new run with another --out",
    )


def _readable(out: Path, read: Callable[[Path], T]) -> Iterator[T]:
    for folder in sorted(out.glob(_FOLDERS), reverse=True):
        try:
            yield read(folder)
        except KeyError as error:
            _log.warning("checkpoint %s cannot be used: %s lacks %s", folder, STATE_FILE, error)
        except (OSError, ValueError, TypeError, AttributeError, msgspec.MsgspecError) as error:
            _log.warning("checkpoint %s cannot be used: %s", folder, error)


def run_folder(out: Path) -> Path:
    """Where a run keeps what it needs to be taken up again.

    Args:
        out: The run's folder.

    Returns:
        It, or in a run of several ranks the folder of the first that was on this machine.
    """
    numbers = [path.name.removeprefix(RANK_PREFIX) for path in out.glob(f"{RANK_PREFIX}*")]
    ranks = [int(number) for number in numbers if number.isdecimal()]
    return out / f"{RANK_PREFIX}{min(ranks)}" if ranks else out


def has_ended(out: Path) -> bool:
    """Whether a run is over, and its server has seen its devices off.

    Args:
        out: The run's folder.
    """
    try:
        with (out / METRICS_NAME).open("rb") as file:
            file.seek(-min(_LAST_LINE_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            last = json.loads(file.read().splitlines()[-1])
    except (OSError, LookupError, ValueError):
        return False
    return isinstance(last, dict) and last.get("event") == "end"


def _read_state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    # Those of earlier releases have none.
    found = state.pop(SUM_FIELD, None)
    if found is not None and found != state_sum(state):
        raise ValueError(f"{STATE_FILE} is damaged")
    return state


def _standing(state: dict[str, Any]) -> Standing:
    for entry in state["rounds"]:
        # JSON has no number for a loss that was not finite.
        if entry["score"] is not None and entry["score"]["loss"] is None:
            entry["score"]["loss"] = math.nan
    return msgspec.convert(state, Standing)


def _read(folder: Path) -> Checkpoint:
    state = _read_state(folder)
    for name, entry in state["files"].items():
        data = (folder / name).read_bytes()
        if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ValueError(f"{name} is damaged")
    sealed = msgspec.json.decode((folder / KEPT_FILE).read_bytes(), type=dict[str, list[Place]])
    for name, places in sealed.items():
        check_sealed(folder / name, places)
    return Checkpoint(folder, _standing(state), state["optimizer"])
