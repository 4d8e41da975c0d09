"""Metrics events of made-up runs, and HTTP for the pages that show them."""

from __future__ import annotations

import http.client
import json
import warnings
from pathlib import Path
from urllib.parse import urlsplit

from slfac.server.ledger import PHASES
from slfac.server.live.device import SERVER_PHASES

TIME = "2026-11-23T06:00:00.000+00:00"


def event(kind: str, **values: object) -> dict:
    return {"event": kind, "time": TIME, **values}


def run_event(*devices: str, rounds: int = 3, **changes: object) -> dict:
    settings = {"rounds": rounds, "codec_up": "slfac", "codec_down": "none", "out": "/secret/place"}
    names = {
        "run": "r1",
        "model": "cnn",
        "cut": "pool1",
        "slfac": "0",
        "address": "tcp://1.2.3.4:5",
    }
    return event(
        "run", devices=list(devices), settings=settings, test_samples=60, **names, **changes
    )


def step_event(device: str, *, round_: int = 0, step: int = 0, **changes: object) -> dict:
    values = {
        "round": round_,
        "step": step,
        "device": device,
        "samples": 16,
        "loss": 2.0,
        "bytes_up": 1100,
        "bytes_down": 600,
        "smashed_bytes": 1000,
        "gradient_bytes": 500,
        "float32_smashed_bytes": 9000,
        "float32_gradient_bytes": 9000,
        "server_ms": dict.fromkeys(SERVER_PHASES, 2.0),
        "phase_ms": dict.fromkeys(PHASES, 3.0),
        "step_ms": 25.0,
    }
    return event("step", **{**values, **changes})


def round_event(round_: int, **changes: object) -> dict:
    values = {
        "rounds": 3,
        "train_loss": 1.5 - round_ / 4,
        "seconds": 2.0,
        "bytes_up": 10_000 * (round_ + 1),
        "bytes_down": 8_000 * (round_ + 1),
        "float32_bytes_up": 90_000 * (round_ + 1),
        "float32_bytes_down": 80_000 * (round_ + 1),
        "devices": 2,
        "loss": 1.25,
        "accuracy": 0.5 + round_ / 10,
        "balanced_accuracy": 0.25,
        "lr_share": 1.0,
        "best_round": round_,
    }
    return event("round", round=round_, **{**values, **changes})


def energy_event(device: str, *, round_: int | None = 0, **changes: object) -> dict:
    """A device that has spent 812.5 J of the module in all, and 100 J in this round."""
    spent = {"joules": 812.5, "covered_s": 160.0, "missing_s": 0.0}
    values = {
        "device": device,
        "round": round_,
        "scope": "module",
        "joules": 100.0,
        "total": {"module": spent},
        "lost": 0,
    }
    return event("energy", **{**values, **changes})


def ask(
    url: str, method: str = "GET", headers: dict[str, str] | None = None, timeout_s: float = 20
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a request."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.request(method, parts.path or "/", headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def state_of(page: str) -> dict:
    """The document that a page draws."""
    status, _, body = ask(page + "state.json")
    assert status == 200
    return json.loads(body)


def read_board(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value of each tag, as TensorBoard would show them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    accumulator = EventAccumulator(str(folder)).Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(one.step, one.value) for one in accumulator.Scalars(tag)] for tag in tags}


def make_older(folder: Path) -> None:
    """Let TensorBoard's files be of an hour ago: it reads them in the order of their seconds."""
    for path in folder.rglob("events.out.tfevents.*"):
        head, mark, rest = path.name.partition("tfevents.")
        second, dot, host = rest.partition(".")
        path.rename(path.with_name(f"{head}{mark}{int(second) - 3600:010d}{dot}{host}"))
