"""Imports the device's packages and computes with them, in a process that may die of it.

A wheel for another processor ends the process that imports it (SIGILL), and libraries print
what they like: so ``slfac doctor`` has a child do this, which writes a JSON object a line: the
step that it begins, then what came of it.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any, Final

from slfac.device.doctor.packages import DEVICE_NEEDS, Need
from slfac.wire.providers import CPU, CUDA, Provider

# relu(conv(x, w)), opset 18 and IR version 10 as the graphs of a bundle are: x is (1, 1, 3, 3),
# w is (1, 1, 2, 2), y is (1, 1, 2, 2), all float32.
GRAPH: Final = bytes.fromhex(
    "080a3a7d0a0f0a01780a017712017a2204436f6e760a0c0a017a120179220452656c751205747269616c5a1b0a01"
    "7812160a14080112100a0208010a0208010a0208030a0208035a1b0a017712160a14080112100a0208010a020801"
    "0a0208020a020802621b0a017912160a14080112100a0208010a0208010a0208020a02080242040a001012"
)
_X: Final = [[[[1, 2, 3], [4, 5, 6], [7, 8, -20]]]]
_W: Final = [[[[1, 2], [3, 4]]]]
# 5 + 12 + 24 - 80 is below zero.
_Y: Final = [[[[37, 47], [67, 0]]]]


def main() -> None:
    """Try everything in order, and say so on standard output."""
    for need in DEVICE_NEEDS:
        _try(need.package, partial(_import, need))
    _try("curve", _curve)
    _try("inference", partial(_infer, CPU))
    if CUDA.name in _providers():
        _try("cuda", partial(_infer, CUDA))


def _try(step: str, work: Callable[[], dict[str, Any]]) -> None:
    _say({"step": step})
    try:
        _say({"step": step, "found": work()})
    except Exception as error:  # noqa: BLE001 - whatever a package raises is what was found
        _say({"step": step, "error": " ".join(f"{type(error).__name__}: {error}".split())})


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _import(need: Need) -> dict[str, Any]:
    module = importlib.import_module(need.module)
    return {"version": str(getattr(module, "__version__", "")), "builds": _builds(need.package)}


def _builds(package: str) -> list[str]:
    """Distributions that bring the same module: an onnxruntime for GPUs overwrites the other."""
    found = []
    for name in (package, f"{package}-gpu"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _curve() -> dict[str, Any]:
    zmq = importlib.import_module("zmq")
    if not zmq.has("curve"):
        return {"curve": False, "libzmq": zmq.zmq_version()}
    public, secret = zmq.curve_keypair()
    return {"curve": zmq.curve_public(secret) == public, "libzmq": zmq.zmq_version()}


def _providers() -> list[str]:
    module = sys.modules.get("onnxruntime")
    return list(module.get_available_providers()) if module is not None else []


def _infer(provider: Provider) -> dict[str, Any]:
    numpy = importlib.import_module("numpy")
    onnxruntime = importlib.import_module("onnxruntime")
    runtime = importlib.import_module("slfac.wire.runtime")
    runtime.require_provider(provider)
    entries = {one.name: one.entry for one in (provider, CPU)}
    session = onnxruntime.InferenceSession(
        GRAPH, sess_options=runtime.session_options(1), providers=list(entries.values())
    )
    if provider.name not in session.get_providers():
        raise RuntimeError(f"onnxruntime could not start {provider.name}")
    feeds = {"x": numpy.array(_X, numpy.float32), "w": numpy.array(_W, numpy.float32)}
    started_s = time.perf_counter()
    (y,) = session.run(["y"], feeds)
    taken_ms = (time.perf_counter() - started_s) * 1e3
    if not numpy.array_equal(y, _Y):
        raise RuntimeError(f"it computed {y.tolist()}, {_Y} is right")
    return {"providers": _providers(), "run_ms": taken_ms}
