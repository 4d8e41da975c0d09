"""Packages, tried in a process of their own: missing, too old, broken, deadly."""

import re
import sys
from pathlib import Path

import pytest

from slfac.device.doctor.packages import (
    DEVICE_NEEDS,
    SERVER_NEEDS,
    check_server_packages,
    judge_version,
)
from slfac.device.doctor.software import check_software

pytestmark = pytest.mark.device

ROOT = Path(__file__).parents[3]
NAMES = [need.package for need in DEVICE_NEEDS]
NUMPY = next(need for need in DEVICE_NEEDS if need.package == "numpy")


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Puts modules in front of those that are installed."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def plant(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    return plant


def by_name(findings):
    found = {finding.name: finding for finding in findings}
    assert list(found) == [*NAMES, "encryption", "inference", *(["gpu"] if "gpu" in found else [])]
    return found


def test_the_needs_are_those_of_the_extras():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for extra, needs in (("device", DEVICE_NEEDS), ("server", SERVER_NEEDS)):
        (block,) = re.findall(rf"^{extra} = \[(.*?)\]\n", project, re.MULTILINE | re.DOTALL)
        listed = set(re.findall(r'"([^"]+)"', block)) - {"slfac[device]"}
        # What only older Pythons need.
        ours, older = {e for e in listed if ";" not in e}, {e for e in listed if ";" in e}
        listed = ours | {e.partition(";")[0] for e in older if sys.version_info < (3, 11)}
        assert listed == {f"{need.package}{need.span}" for need in needs}
        assert {need.extra for need in needs} == {extra}


def test_what_is_installed_here_is_in_order():
    found = by_name(check_software())
    assert {finding.level for name, finding in found.items() if name != "gpu"} == {"ok"}
    assert "CPUExecutionProvider" in found["inference"].found


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("1.26.4", "failed"),
        ("2.0.0rc1", "ok"),
        ("2.4.6", "ok"),
        ("3.0.0", "failed"),
        ("2.1+local.9", "ok"),
        ("", "unknown"),
    ],
)
def test_versions(version, level):
    finding = judge_version(NUMPY, version)
    assert finding.level == level
    assert level != "failed" or finding.remedy == "pip install 'numpy>=2,<3'"


def test_a_package_that_is_missing(plant):
    plant("safetensors", "raise ModuleNotFoundError(\"No module named 'safetensors'\")")
    found = by_name(check_software())
    assert found["safetensors"].level == "failed"
    assert "No module named 'safetensors'" in found["safetensors"].found
    assert "extra 'device'" in found["safetensors"].remedy
    assert found["inference"].level == "unknown", "it could not be tried"
    assert {found[name].level for name in NAMES if name != "safetensors"} == {"ok"}


def test_a_package_that_is_too_old(plant):
    plant("psutil", "__version__ = '5.9.8'")
    finding = by_name(check_software())["psutil"]
    assert (finding.level, finding.found) == ("failed", "5.9.8 is installed, >=6 is needed")


def test_a_package_that_fails_with_any_error_and_prints(plant):
    plant(
        "psutil", "import sys; print('{\"step\": \"psutil\"'); print(7); raise ValueError('a\\nb')"
    )
    finding = by_name(check_software())["psutil"]
    assert (finding.level, "ValueError: a b" in finding.found) == ("failed", True)
    assert finding.remedy == "pip install --force-reinstall 'psutil>=6'"


def test_a_package_that_kills_its_process(plant):
    plant("onnxruntime", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    found = by_name(check_software())
    assert found["numpy"].level == "ok"
    assert found["onnxruntime"].level == "failed"
    assert "SIGILL" in found["onnxruntime"].found
    assert "for this processor" in found["onnxruntime"].remedy
    assert {found[name].level for name in ("psutil", "pyzmq", "inference")} == {"unknown"}


def test_a_package_that_never_comes_back(plant):
    plant("psutil", "import threading; threading.Event().wait()")
    found = by_name(check_software(timeout_s=3.0))
    assert (found["psutil"].level, "too long" in found["psutil"].found) == ("failed", True)


FAKE_ZMQ = """
__version__ = "27.0.0"
def has(what): return False
def zmq_version(): return "4.3.1"
"""


def test_a_libzmq_without_curve(plant):
    plant("zmq", FAKE_ZMQ)
    finding = by_name(check_software())["encryption"]
    assert (finding.level, "without CURVE" in finding.found) == ("failed", True)


FAKE_RUNTIME = """
import numpy
__version__ = "1.31.1"
class SessionOptions:
    def add_session_config_entry(self, *_): pass
class OrtValue: pass
class InferenceSession:
    def __init__(self, graph, sess_options, providers): self.asked = [name for name, _ in providers]
    def get_providers(self): return self.asked[{first}:]
    def run(self, names, feeds): return [numpy.array({y}, numpy.float32)]
def get_available_providers(): return {providers}
"""
RIGHT = "[[[[37, 47], [67, 0]]]]"
CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]


def fake_runtime(y=RIGHT, providers=("CPUExecutionProvider",), first=0):
    return FAKE_RUNTIME.format(y=y, providers=list(providers), first=first)


def test_an_onnxruntime_that_computes_nonsense(plant):
    plant("onnxruntime", fake_runtime(y="[[[[37, 47], [67, 1]]]]"))
    finding = by_name(check_software())["inference"]
    assert (finding.level, "is right" in finding.found) == ("failed", True)


def test_a_gpu_that_works(plant):
    plant("onnxruntime", fake_runtime(providers=CUDA))
    found = by_name(check_software())
    assert (found["gpu"].level, found["inference"].level) == ("ok", "ok")


def test_a_gpu_that_cannot_be_started_is_no_failure(plant):
    plant("onnxruntime", fake_runtime(providers=CUDA, first=1) + "\n")
    found = by_name(check_software())
    assert found["gpu"].level == "warning"
    assert "could not start CUDAExecutionProvider" in found["gpu"].found
    assert "docs/gpu.md" in found["gpu"].remedy


@pytest.mark.usefixtures("plant")
def test_two_builds_over_one_another(tmp_path):
    info = tmp_path / "onnxruntime_gpu-1.31.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.31.1\n"
    )
    finding = by_name(check_software())["onnxruntime"]
    assert finding.level == "warning"
    assert "onnxruntime-gpu 1.31.1" in finding.found


def test_a_module_in_the_working_folder_is_not_taken_for_a_package(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('not me')")
    monkeypatch.chdir(tmp_path)
    assert by_name(check_software())["numpy"].level == "ok"


def test_an_interpreter_that_cannot_be_started(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    (finding,) = check_software()
    assert finding.level == "unknown"


@pytest.mark.usefixtures("plant")
def test_a_servers_packages_are_looked_up(tmp_path):
    info = tmp_path / "torch-2.12.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.12.1+cpu\n")
    torch = {finding.name: finding for finding in check_server_packages()}["torch"]
    assert (torch.level, torch.found) == (
        "failed",
        "2.12.1+cpu is installed, >=2.13,<2.14 is needed",
    )
