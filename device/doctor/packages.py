"""Which packages slfac needs, and whether the ones installed will do."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import metadata

from slfac.device.doctor.finding import Finding


@dataclass(frozen=True)
class Need:
    """A package of an extra, as ``pyproject.toml`` has it.

    Attributes:
        package: Its name where it is installed from.
        module: Its name where it is imported.
        least: Oldest release that will do.
        below: First release that will not; empty for none.
        extra: The extra that brings it.
    """

    package: str
    module: str
    least: tuple[int, ...]
    below: tuple[int, ...]
    extra: str

    @property
    def span(self) -> str:
        """The releases that will do, as pip writes them."""
        parts = [f">={'.'.join(map(str, self.least))}"]
        parts += [f"<{'.'.join(map(str, self.below))}"] * bool(self.below)
        return ",".join(parts)


NOT_INSTALLED = "it is not installed"
DEVICE_NEEDS = (
    Need("msgspec", "msgspec", (0, 20), (0, 23), "device"),
    Need("numpy", "numpy", (2,), (3,), "device"),
    Need("onnxruntime", "onnxruntime", (1, 20), (2,), "device"),
    Need("psutil", "psutil", (6,), (), "device"),
    Need("pyzmq", "zmq", (26, 2), (28,), "device"),
    Need("safetensors", "safetensors", (0, 5), (), "device"),
    *([Need("tomli", "tomli", (2,), (), "device")] if sys.version_info < (3, 11) else []),
)
SERVER_NEEDS = (
    Need("prometheus-client", "prometheus_client", (0, 21), (), "server"),
    Need("pydantic", "pydantic", (2, 9), (3,), "server"),
    Need("torch", "torch", (2, 13), (2, 14), "server"),
)


def judge_version(need: Need, version: str) -> Finding:
    """Whether a release will do.

    Args:
        need: What is needed.
        version: The release found.
    """
    number = tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))
    if not number:
        return Finding(
            "unknown", need.package, f"its version is {version!r}; {need.span} is needed"
        )
    if number < need.least or (need.below and number >= need.below):
        return Finding(
            "failed",
            need.package,
            f"{version} is installed, {need.span} is needed",
            f"pip install '{need.package}{need.span}'",
        )
    return Finding("ok", need.package, f"{version} ({need.span})")


def missing(need: Need, error: str) -> Finding:
    """A package that cannot be imported.

    Args:
        need: What is needed.
        error: What importing it said.
    """
    if error.endswith((f"No module named '{need.module}'", NOT_INSTALLED)):
        remedy = f"install slfac with its extra {need.extra!r} into this Python"
    else:
        remedy = f"pip install --force-reinstall '{need.package}{need.span}'"
    return Finding("failed", need.package, f"it cannot be imported: {error}", remedy)


def check_server_packages() -> list[Finding]:
    """The packages of a server, by what is installed: importing torch would take seconds."""
    return [_installed(need) for need in SERVER_NEEDS]


def _installed(need: Need) -> Finding:
    try:
        return judge_version(need, metadata.version(need.package))
    except metadata.PackageNotFoundError:
        return missing(need, NOT_INSTALLED)
