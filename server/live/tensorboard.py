"""The run's scalars as TensorBoard reads them.

Two folders, because a restart cuts each at one step: ``rounds`` counts rounds, ``steps`` the
steps of all devices. What a run wrote after the checkpoint from which it goes on is hidden
by TensorBoard, as of the step that the restart names.
"""

from __future__ import annotations

import datetime as dt
import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slfac.wire.errors import MissingExtraError, SettingsError

_FLUSH_S = 10
_ROUND = (
    "train_loss",
    "loss",
    "accuracy",
    "balanced_accuracy",
    "seconds",
    "devices",
    "lr_share",
    "participation",
)
_ROUND_BYTES = ("bytes_up", "bytes_down", "float32_bytes_up", "float32_bytes_down")
_STEP = ("loss", "bytes_up", "bytes_down", "step_ms", "staleness")


class TensorBoard:
    """Writes scalars.

    Args:
        folder: Where ``rounds`` and ``steps`` go.
        goes_on: Whether a run goes on that may have been written there before.
        rounds: Its finished rounds; what was written of later ones is void.
        steps: Its steps, of all devices; likewise.

    Raises:
        MissingExtraError: tensorboard is not installed.
        SettingsError: The folder cannot be written.
    """

    def __init__(
        self, folder: Path, *, goes_on: bool = False, rounds: int = 0, steps: int = 0
    ) -> None:
        self._summary, writer = _import()
        self._steps = steps
        try:
            self._by_round, self._by_step = (
                writer(str(folder / name), purge_step=at if goes_on else None, flush_secs=_FLUSH_S)
                for name, at in (("rounds", rounds), ("steps", steps))
            )
        except OSError as error:
            raise SettingsError(
                f"setting tensorboard: cannot write {folder}: {error.strerror}",
                "free some space, or leave it out",
            ) from error

    def take(self, event: dict[str, Any], _: float = 0.0) -> None:
        """Write down a metrics event; one of an unknown kind changes nothing.

        Args:
            event: The event.

        Raises:
            OSError: The files cannot be written.
        """
        if event["event"] == "step":
            device = event["device"]
            values = {f"{name}/{device}": event.get(name) for name in _STEP}
            values |= _spent(f"device_ms/{device}", event.get("phase_ms"))
            values |= _spent(f"server_ms/{device}", event.get("server_ms"))
            self._steps += 1
            self._write(self._by_step, values, self._steps - 1, event)
        elif event["event"] == "round":
            values = {f"round/{name}": event.get(name) for name in _ROUND}
            values |= {f"bytes/{name}": event.get(name) for name in _ROUND_BYTES}
            values |= {
                f"round/joules_{scope}": one["joules"]
                for scope, one in event.get("energy", {}).items()
            }
            self._write(self._by_round, values, event["round"], event)
        elif event["event"] == "energy" and event["round"] is not None:
            values = {f"joules/{event['device']}": event["joules"]}
            self._write(self._by_round, values, event["round"], event)

    def close(self) -> None:
        """Write what is left.

        Raises:
            OSError: The files cannot be written.
        """
        self._by_round.close()
        self._by_step.close()

    def _write(
        self, writer: Any, values: Mapping[str, float | None], step: int, event: dict[str, Any]
    ) -> None:
        value = self._summary.Value
        # One entry with all values costs a tenth of one entry for each.
        known = [value(tag=t, simple_value=v) for t, v in values.items() if v is not None]
        at_s = dt.datetime.fromisoformat(event["time"]).timestamp()
        writer.file_writer.add_summary(self._summary(value=known), step, at_s)


def _spent(prefix: str, phases: Mapping[str, float] | None) -> dict[str, float]:
    return {f"{prefix}/{phase}": value for phase, value in (phases or {}).items()}


def check_tensorboard() -> None:
    """Check that tensorboard is there.

    Raises:
        MissingExtraError: It is not installed.
    """
    _import()


def _import() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            # Deprecations in tensorboard's own dependencies are no news for who trains.
            warnings.simplefilter("ignore", DeprecationWarning)
            summary = importlib.import_module("tensorboard.compat.proto.summary_pb2")
            writer = importlib.import_module("torch.utils.tensorboard")
    except ImportError as error:
        raise MissingExtraError(
            "setting tensorboard needs the package tensorboard, which is not installed",
            "pip install 'slfac[tensorboard]'",
        ) from error
    return summary.Summary, writer.SummaryWriter
