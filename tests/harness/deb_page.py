"""Where the package was tried, from its result file: as docs/update.md has it.

`python -m harness.deb_page` puts it there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "deb.json"
DOC = ROOT / "docs" / "update.md"
_TITLE = "## State"


class _Row(NamedTuple):
    """A system that the package is meant for.

    Attributes:
        system: What it is called.
        pythons: Its Python.
        packages: The package for it.
        name: As the trial calls it; empty where there is no trial.
        untested: Why not, if there is something to be said.
    """

    system: str
    pythons: str
    packages: str
    name: str = ""
    untested: str = ""


_ROWS = (
    _Row("Debian 13", "3.13", "`cp313`", "trixie"),
    _Row("Debian 12", "3.11", "`cp311`", "bookworm"),
    _Row("Ubuntu 24.04", "3.12", "`cp312`", "", "no mirror of it for arm64 could be reached"),
    _Row("Ubuntu 22.04", "3.10", "`cp310`", "", "likewise"),
    _Row("Raspberry Pi OS 12 and 13", "3.11, 3.13", "`cp311`, `cp313`"),
    _Row("JetPack 6 and 7", "3.10, 3.12", "`cp310`, `cp312`"),
    _Row("images of slfac", "3.13", "`cp313`", "", "in a test dpkg unpacks it over their files"),
)


def state(result: dict[str, Any]) -> str:
    """The section.

    Args:
        result: The result file.
    """
    tried = {told["name"]: told for told in result["systems"]}
    cores, processor = (result["machine"][name] for name in ("cores", "processor"))
    where = f"On arm64, which {cores} cores of an {processor} emulated, {result['date']}"
    lines = [
        "| System | Python | Package | State |",
        "|---|---|---|---|",
        *(_line(row, tried.get(row.name)) for row in _ROWS),
        "",
        f"{where}: a board is faster. Not tried: {', '.join(result['not_tried'])}.",
        "",
    ]
    for told in tried.values():
        steps = ", ".join(step["step"].replace("-", " ") for step in told["steps"])
        lines += [f"- {told['system']}, {told['where']}: {steps}."]
    return "\n".join(lines) + "\n"


def _line(row: _Row, told: dict[str, Any] | None) -> str:
    start = f"| {row.system} | {row.pythons} | {row.packages} |"
    if told is None:
        why = f": {row.untested}" if row.untested else ""
        return f"{start} untested{why} |"
    where = (
        "tested in QEMU" if told["where"] == "booted in QEMU" else f"tested in a {told['where']}"
    )
    steps = told["steps"]
    failed = [step["step"].replace("-", " ") for step in steps if not step["passed"]]
    came = f"failed: {', '.join(failed)}" if failed else "passed" if told["passed"] else "failed"
    counted = f"{len(steps)} steps, {told['training_steps']} of training, {told['seconds']} s"
    return f"{start} {where}: {came}; {counted} |"


def put_state(text: str, result: dict[str, Any]) -> str:
    """Put the section where docs/update.md has it.

    Args:
        text: The page.
        result: The result file.
    """
    head, found, rest = text.partition(f"\n{_TITLE}\n")
    assert found, "docs/update.md has no section for its state"
    behind = re.split(r"^(?=## )", rest, maxsplit=1, flags=re.MULTILINE)[1]
    return f"{head}\n{_TITLE}\n\n{state(result)}\n{behind}"


def write() -> None:
    """Write the section anew."""
    result = json.loads(RESULTS.read_text("utf-8"))
    DOC.write_text(put_state(DOC.read_text("utf-8"), result), "utf-8")


if __name__ == "__main__":
    write()
