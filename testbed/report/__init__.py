"""Reports: the measurements of a run as JSON, curves, one HTML page and terminal tables."""

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
