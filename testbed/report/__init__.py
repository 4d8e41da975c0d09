"""Reports: the measurements of a run as JSON, curves, one HTML page and terminal tables.

Its names are loaded when they are first asked for: what else is drawn in the same style needs
neither rich nor a run.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slfac.testbed.report.files import write_comparison, write_report
    from slfac.testbed.report.model import PHASES, DeviceReport, RoundPoint, RunReport
    from slfac.testbed.report.terminal import print_tables, text_table

__all__ = [
    "PHASES",
    "DeviceReport",
    "RoundPoint",
    "RunReport",
    "print_tables",
    "text_table",
    "write_comparison",
    "write_report",
]

_HOMES = {
    "PHASES": "model",
    "DeviceReport": "model",
    "RoundPoint": "model",
    "RunReport": "model",
    "print_tables": "terminal",
    "text_table": "terminal",
    "write_comparison": "files",
    "write_report": "files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
