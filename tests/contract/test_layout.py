"""The repository's shape: which folders there are, and how long things may be."""

import ast
import re
import statistics
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    *("wire", "codec", "data", "hw_profiles", "device"),
    *("server", "export", "testbed", "cli"),
}
OTHERS = {".ci", "docs", "src", "tests"}
MAX_FILE_LINES = 500
MAX_MEDIAN_LINES = 150
MAX_FUNCTION_LINES = 60


def tracked(*patterns):
    """Paths that git tracks and the working tree has, links left out."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *patterns]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    paths = [Path(name) for name in names.split("\0") if name]
    return [path for path in paths if (ROOT / path).is_file()]


def functions(text):
    """Name and length of each function, its docstring left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            yield node.name, lines


SOURCES = {path: (ROOT / path).read_text("utf-8") for path in tracked("*.py")}


def test_there_are_sources_to_look_at():
    assert len(SOURCES) > 100
    assert {path.parts[0] for path in SOURCES} >= PACKAGES | {"tests"}


def test_no_file_is_too_long():
    lengths = {str(path): text.count("\n") for path, text in SOURCES.items()}
    assert {path: n for path, n in lengths.items() if n > MAX_FILE_LINES} == {}
    assert statistics.median(lengths.values()) <= MAX_MEDIAN_LINES


def test_no_function_is_too_long_to_see_whole():
    lengths = {
        f"{path}:{name}": lines for path, text in SOURCES.items() for name, lines in functions(text)
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES} == {}


def test_a_long_function_would_be_found():
    text = "def f():\n    '''Doc\n    string.'''\n" + "    x = 1\n" * 60
    assert list(functions(text)) == [("f", 61)]


def test_the_links_are_exactly_the_package_folders():
    mounted = ROOT / "src" / "slfac"
    links = {path.name: path.readlink() for path in mounted.iterdir() if path.is_symlink()}
    assert links == {name: Path("..") / ".." / name for name in PACKAGES}
    assert all((mounted / name).resolve() == ROOT / name for name in PACKAGES)
    assert {path.name for path in mounted.iterdir()} - {"__pycache__"} == {
        *PACKAGES,
        "__init__.py",
        "py.typed",
    }


def test_the_top_level_folders_are_the_documented_ones():
    names = {path.parts[0] for path in tracked() if len(path.parts) > 1}
    assert names == PACKAGES | OTHERS
    init = (ROOT / "src" / "slfac" / "__init__.py").read_text("utf-8")
    assert set(re.findall(r":mod:`slfac\.(\w+)`", init)) == PACKAGES


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_package_folder_has_a_face_and_holds_no_tests(name):
    assert (ROOT / name / "__init__.py").read_text("utf-8").startswith('"""')
    assert not list((ROOT / name).rglob("test_*.py"))


def test_test_files_have_names_of_their_own():
    names = [path.name for path in SOURCES if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_there_are_no_relative_imports():
    for path, text in SOURCES.items():
        for node in ast.walk(ast.parse(text)):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path
