"""What is kept of a finished run, and how an earlier one is found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from slfac.codec import decode, make_codec
from slfac.testbed.collect import collect
from slfac.testbed.experiment.points import CodecPoint
from slfac.testbed.report import DeviceReport, RoundPoint
from slfac.testbed.write import replace_file
from slfac.wire.errors import RunError

_NAME = "run.json"
_PROBE_SHAPE = (4, 8, 14, 14)


class RunRecord(Struct, frozen=True, kw_only=True):
    """One finished run.

    Attributes:
        codec: The codecs as the user wrote them.
        codec_up: Canonical spec of the smashed data's codec.
        codec_down: Canonical spec of the gradients' codec.
        seed: The run's seed.
        accuracy: After the last round, in [0, 1].
        total_bytes: Both directions, every frame of every message at the socket API.
        bytes_up: Devices to server.
        bytes_down: Server to devices.
        payload_bytes_up: What the codec wrote of it, its own headers included.
        payload_bytes_down: Likewise.
        wire_bytes_up: ``bytes_up`` plus ZMTP framing and CURVE encryption.
        wire_bytes_down: Likewise.
        float32_bytes_up: ``bytes_up`` with the smashed data as float32.
        float32_bytes_down: Likewise.
        smashed_values: Values of all smashed data.
        gradient_values: Values of all their gradients.
        seconds: Training and evaluation, as the server measured them.
        wall_seconds: The whole run, with the start of its processes.
        jobs: Runs that went on at the same time at most.
        train_samples: Training images of all devices.
        test_samples: Images that it was scored on.
        date: When it began.
        by_round: Where it stood at the end of each round.
        per_device: One entry a device.
    """

    codec: str
    codec_up: str
    codec_down: str
    seed: int
    accuracy: float
    total_bytes: int
    bytes_up: int
    bytes_down: int
    payload_bytes_up: int
    payload_bytes_down: int
    wire_bytes_up: int
    wire_bytes_down: int
    float32_bytes_up: int
    float32_bytes_down: int
    smashed_values: int
    gradient_values: int
    seconds: float
    wall_seconds: float
    jobs: int
    train_samples: int
    test_samples: int
    date: str
    by_round: tuple[RoundPoint, ...]
    per_device: tuple[DeviceReport, ...]


class _Kept(Struct, frozen=True):
    settings: dict[str, Any]
    run: RunRecord


def record(
    events: Sequence[dict[str, Any]], point: CodecPoint, *, wall_seconds: float, jobs: int
) -> RunRecord:
    """Take a finished run's figures from its metrics.

    Args:
        events: The metrics.
        point: Its codecs.
        wall_seconds: How long all of it took.
        jobs: Runs that went on at the same time at most.

    Returns:
        The figures.

    Raises:
        RunError: The run did not finish, or has no accuracy.
    """
    report, rounds = collect(events, dataset="")
    if report.accuracy is None or any(entry.accuracy is None for entry in rounds):
        raise RunError("a round was not evaluated", "see its server.log")
    devices = [event for event in events if event["event"] == "device"]

    def total(name: str) -> int:
        return sum(event[name] for event in devices)

    return RunRecord(
        codec=point.label,
        codec_up=point.up,
        codec_down=point.down,
        seed=report.seed,
        accuracy=report.accuracy,
        total_bytes=report.bytes_up + report.bytes_down,
        bytes_up=report.bytes_up,
        bytes_down=report.bytes_down,
        payload_bytes_up=total("smashed_bytes"),
        payload_bytes_down=total("gradient_bytes"),
        wire_bytes_up=report.wire_bytes_up,
        wire_bytes_down=report.wire_bytes_down,
        float32_bytes_up=report.float32_bytes_up,
        float32_bytes_down=report.float32_bytes_down,
        smashed_values=total("smashed_values"),
        gradient_values=total("gradient_values"),
        seconds=round(report.seconds, 3),
        wall_seconds=round(wall_seconds, 3),
        jobs=jobs,
        train_samples=report.train_samples,
        test_samples=report.test_samples,
        date=report.date,
        by_round=tuple(rounds),
        per_device=report.per_device,
    )


def key_of(settings: dict[str, Any]) -> str:
    """A short name for settings: equal ones have the same.

    Args:
        settings: JSON values.
    """
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find(folder: Path, settings: dict[str, Any]) -> RunRecord | None:
    """The run that an earlier experiment finished with the same settings.

    Args:
        folder: The run's folder.
        settings: All that decides its outcome.

    Returns:
        The run; None where there is none, or its file is not whole.
    """
    try:
        kept = msgspec.json.decode((folder / _NAME).read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError):
        return None
    return kept.run if kept.settings == settings else None


def keep(folder: Path, settings: dict[str, Any], run: RunRecord) -> None:
    """Write down a finished run, whole or not at all.

    Args:
        folder: The run's folder, which exists.
        settings: All that decides its outcome.
        run: The run.

    Raises:
        RunError: The file cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(_Kept(settings, run)), indent=1)
    replace_file(folder / _NAME, data + b"\n")


def codec_print(spec: str) -> str:
    """A hash of what a codec makes of a fixed tensor, and of what it reads back.

    Runs are found again by it, so that those of a codec whose code gave other bytes or
    other values then are not taken for today's.

    Args:
        spec: The codec's spec.
    """
    rng = np.random.default_rng(7)
    plain = rng.standard_normal(_PROBE_SHAPE).cumsum(axis=2).cumsum(axis=3)
    digest = hashlib.sha256()
    for tensor in (np.maximum(plain, 0), rng.standard_normal(_PROBE_SHAPE) * 1e-4):
        payload = make_codec(spec).encode(tensor.astype(np.float32))
        digest.update(payload)
        digest.update(decode(payload, max_values=tensor.size).tobytes())
    return digest.hexdigest()[:16]
