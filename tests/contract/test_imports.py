"""Import arrows point one way, and the check that says so can say no."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [
    *("wire", "codec", "data", "hw_profiles", "device"),
    *("server", "export", "testbed", "cli"),
]
DEVICE = "What runs on a device never imports torch, onnx or the folders above it"
ARROWS = "wire and codec import nothing of ours but errors"
ERRORS = "wire and codec share nothing but errors"
PROFILES = "hw_profiles imports nothing of ours but wire"
SIBLINGS = "device, server and export never import one another"
LAYERS = "Import arrows point one way"
CONTRACTS = (DEVICE, ARROWS, ERRORS, PROFILES, SIBLINGS, LAYERS)


def lint_imports(root):
    """Exit code and output of import-linter on a tree, which it imports from its own src."""
    code = (
        "import sys; sys.path.insert(0, 'src'); import slfac; print(slfac.__file__);"
        "from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert f"{root}/src/slfac/__init__.py" in done.stdout, done.stdout + done.stderr
    # The report breaks lines where it likes.
    return done.returncode, " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """The parts of the repository that import-linter reads, links kept."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ["src", *FOLDERS]:
        shutil.copytree(
            ROOT / folder,
            root / folder,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


@pytest.fixture
def plant(pristine):
    """Appends a line to a file of the copied tree, and takes it back afterwards."""
    changed = {}

    def append(name, line):
        path = pristine / name
        changed.setdefault(path, path.read_text("utf-8"))
        path.write_text(f"{changed[path]}\n{line}\n", "utf-8")
        return lint_imports(pristine)

    yield append
    for path, text in changed.items():
        path.write_text(text, "utf-8")


def broken(report):
    """Names of the contracts that a report calls broken."""
    return {name for name in CONTRACTS if f"{name} BROKEN" in report}


def test_the_repository_keeps_its_contracts():
    code, report = lint_imports(ROOT)
    assert code == 0, report
    for name in CONTRACTS:
        assert f"{name} KEPT" in report


def test_an_unchanged_copy_keeps_them_too(pristine):
    code, report = lint_imports(pristine)
    assert code == 0, report


@pytest.mark.parametrize(
    ("file", "line", "contracts"),
    [
        ("device/memory.py", "import torch", {DEVICE}),
        ("codec/maps/zigzag.py", "from torch import nn", {DEVICE}),
        ("data/npz.py", "def late():\n    import onnx", {DEVICE}),
        ("wire/meter.py", "import pydantic", {DEVICE}),
        ("device/memory.py", "from slfac.server import Server", {DEVICE, SIBLINGS, LAYERS}),
        ("server/losses.py", "import slfac.device", {SIBLINGS, LAYERS}),
        ("export/infer.py", "from slfac.server import losses", {SIBLINGS, LAYERS}),
        ("wire/meter.py", "import slfac.data", {ARROWS, LAYERS}),
        ("wire/meter.py", "import slfac.codec", {ERRORS}),
        ("codec/maps/zigzag.py", "from slfac.wire import frame", {ERRORS}),
        ("data/npz.py", "from slfac.device import memory", {LAYERS}),
        ("hw_profiles/units.py", "import torch", {DEVICE}),
        ("hw_profiles/units.py", "import slfac.codec", {PROFILES}),
        ("hw_profiles/units.py", "from slfac.device import memory", {LAYERS}),
    ],
)
def test_a_planted_import_breaks_the_contract_that_forbids_it(plant, file, line, contracts):
    code, report = plant(file, line)
    assert code != 0
    assert contracts <= broken(report), report


def packages(text):
    start = text.index("source_modules")
    return text[start : text.index("]", start)]


def test_every_folder_is_under_contract():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    contracts = text[text.index("[tool.importlinter]") :]
    for folder in FOLDERS:
        assert f'"slfac.{folder}"' in contracts or f"slfac.{folder} " in contracts
    for folder in ("wire", "codec", "data", "hw_profiles", "device"):
        assert f'"slfac.{folder}"' in packages(contracts)
