"""The examples in docs/api run as they stand, and commands print what their page says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from slfac.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "api").glob("*.md"))
# What differs from one machine to the next: rounding errors, bundle ids, sizes.
VARYING = re.compile(r"\b\d\.\de[-+]\d\d\b|\b[0-9a-f]{12}\b|[\d.]+ kB")


def test_there_are_pages():
    assert {"codec.md", "device.md", "export.md", "server.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert blocks, f"{page.name} has no example"
    example = tmp_path / "example.py"
    example.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error", example.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def own_place(tmp_path, monkeypatch):
    """A folder of its own to work in, whose modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) == str(tmp_path / f"{name}.py"):
            del sys.modules[name]


def commands(block):
    """Each command of a console block, and what it prints."""
    command = re.compile(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", re.DOTALL)
    for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, printed = command.fullmatch(text).groups()
        yield shlex.split(line.replace("\\\n", " ")), printed


@pytest.mark.timeout(400)  # half a minute of computing on a quiet core
@pytest.mark.parametrize("name", ["export.md", "own-model.md"])
def test_commands_print_what_a_page_says(name, own_place, capsys):
    page = (DOCS / name).read_text()
    pattern = r"(?:^Save this as `(\w+\.py)`:\n\n)?^```(python|console)\n(.*?)^```$"
    count = 0
    for file, kind, block in re.findall(pattern, page, flags=re.DOTALL | re.MULTILINE):
        if file:
            (own_place / file).write_text(block)
        elif kind == "python":
            subprocess.run([sys.executable, "-W", "error", "-c", block], check=True)
        else:
            for (program, *arguments), printed in commands(block):
                assert program == "slfac"
                failed = main(arguments)
                said = capsys.readouterr()
                given = said.err.splitlines()[-1] + "\n" if failed else said.out
                assert VARYING.sub("#", given) == VARYING.sub("#", printed)
                count += 1
    assert count >= 1
