"""What a child process found when it imported and used the device's packages."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

from slfac.device.doctor.finding import Finding
from slfac.device.doctor.packages import DEVICE_NEEDS, judge_version, missing

# Emulated on a busy machine, importing onnxruntime alone took two minutes.
TIMEOUT_S: Final = 300.0
# The child sees exactly the modules that this process sees, whatever lies in its folder.
_CODE = "import sys; sys.path[:] = sys.argv[1:]; from slfac.device.doctor.trial import main; main()"
_NEEDS = {need.package: need for need in DEVICE_NEEDS}
_LABELS = {"curve": "encryption", "inference": "inference", "cuda": "gpu"}
_REINSTALL = "install it for this processor and this Python: pip install --force-reinstall {}"


def check_software(timeout_s: float = TIMEOUT_S) -> Iterator[Finding]:
    """Import each package of the device in a child process, encrypt, and run a graph.

    Args:
        timeout_s: How long all of it may take.

    Yields:
        A finding a package, then the encryption's and onnxruntime's.
    """
    command = [sys.executable, "-c", _CODE, *sys.path]
    try:
        child = subprocess.Popen(  # noqa: S603 - our own code, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except OSError as error:
        yield Finding("unknown", "packages", f"no process can be started: {error.strerror}")
        return
    timer = threading.Timer(timeout_s, child.kill)
    timer.start()
    try:
        yield from _judge(child)
    finally:
        timer.cancel()
        child.kill()
        child.communicate()


def _judge(child: subprocess.Popen[str]) -> Iterator[Finding]:
    pending = [*_NEEDS, "curve", "inference"]
    begun = ""
    for line in child.stdout or ():
        said = _parse(line)
        if len(said) < 2:
            begun = said.get("step", begun)
            continue
        pending = [step for step in pending if step != begun]
        begun = ""
        yield from _finding(said)
    code = child.wait()
    if begun:
        pending = [step for step in pending if step != begun]
        yield _died(begun, code)
    for step in pending:
        yield Finding("unknown", _LABELS.get(step, step), "not tried, for what failed above")


def _parse(line: str) -> dict[str, Any]:
    """A line of the child's; packages may print lines of their own, which are empty here."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) and "step" in said else {}


def _finding(said: dict[str, Any]) -> Iterator[Finding]:
    step, found, error = said["step"], said.get("found"), said.get("error", "")
    if step in _NEEDS:
        yield missing(_NEEDS[step], error) if found is None else _package(step, found)
        return
    label = _LABELS[step]
    if found is None:
        yield _failed_use(label, error)
    elif step != "curve":
        providers = f"; providers: {', '.join(found['providers'])}" if step == "inference" else ""
        yield Finding("ok", label, f"a small graph ran in {found['run_ms']:.1f} ms{providers}")
    elif found["curve"]:
        yield Finding("ok", label, f"libzmq {found['libzmq']} has CURVE")
    else:
        yield Finding(
            "failed",
            label,
            f"libzmq {found['libzmq']} is built without CURVE",
            "install pyzmq's own wheel: pip install --force-reinstall pyzmq",
        )


def _package(name: str, found: dict[str, Any]) -> Finding:
    judged = judge_version(_NEEDS[name], found["version"])
    if judged.level == "ok" and len(found["builds"]) > 1:
        return Finding(
            "warning",
            name,
            f"{' and '.join(found['builds'])} are installed over one another",
            f"uninstall both, then install the one for your board: pip uninstall {name} {name}-gpu",
        )
    return judged


def _failed_use(label: str, error: str) -> Finding:
    if label == "gpu":
        return Finding(
            "warning", label, error, "the CPU computes the front: docs/gpu.md names the builds"
        )
    if "ModuleNotFoundError" in error or "ImportError" in error:
        return Finding("unknown", label, f"not tried: {error}")
    package = "pyzmq" if label == "encryption" else "onnxruntime"
    return Finding("failed", label, error, _REINSTALL.format(package))


def _died(step: str, code: int) -> Finding:
    label = _LABELS.get(step, step)
    if code == -signal.SIGKILL:
        found = "it took too long, or was killed (out of memory?)"
    elif code < 0:
        found = f"it ended its process with {_signal_name(-code)}"
    else:
        found = f"it ended its process with exit code {code}"
    if step == "cuda":
        return Finding("warning", label, found, "train with --provider cpu; see docs/gpu.md")
    package = step if step in _NEEDS else "pyzmq" if step == "curve" else "onnxruntime"
    return Finding("failed", label, found, _REINSTALL.format(package))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
