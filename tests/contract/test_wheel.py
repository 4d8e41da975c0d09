"""The wheel holds every tracked file of the package folders, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    *("wire", "codec", "data", "hw_profiles", "device"),
    *("server", "export", "testbed", "cli"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names and texts in a wheel built from the working tree."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def package_files():
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *PACKAGES]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name for name in names if name and (ROOT / name).is_file()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    expected = {f"slfac/{name}" for name in package_files()}
    expected |= {"slfac/__init__.py", "slfac/py.typed"}
    names = {name for name in wheel if ".dist-info/" not in name}
    untracked = {name for name in names - expected if (ROOT / name[6:]).is_file()}
    # A file that is not yet committed gets into the wheel as well; anything else must not.
    assert names - untracked == expected
    assert all(
        name.rpartition(".")[2] in {"py", "css", "html", "js", "svg", "txt", "npz", "toml"}
        for name in untracked
    )


def test_a_file_in_the_wheel_is_the_one_in_the_tree(wheel):
    for name in package_files():
        assert wheel[f"slfac/{name}"] == (ROOT / name).read_bytes()


def test_the_wheel_says_who_it_is(wheel):
    from slfac import __version__

    (folder,) = {name.split("/")[0] for name in wheel if ".dist-info/" in name}
    assert folder == f"slfac-{__version__}.dist-info"
    metadata = wheel[f"{folder}/METADATA"].decode()
    assert f"Version: {__version__}" in metadata
    assert "Requires-Python: >=3.10" in metadata
    for extra in (
        *("device", "images", "discovery", "server", "tensorboard"),
        *("export", "report", "testbed", "all"),
    ):
        assert f"Provides-Extra: {extra}\n" in metadata
    # Nothing is installed without an extra.
    assert not [
        line
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist") and "extra ==" not in line
    ]
    assert "slfac = slfac.cli:main" in wheel[f"{folder}/entry_points.txt"].decode()
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
