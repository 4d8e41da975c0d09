import subprocess
import sys

import pytest

pytestmark = pytest.mark.device

REPORT = """
import sys
{before}
from slfac.device.guard import foreign_modules, require_torch_free
from slfac.wire.errors import SlfacError
print(",".join(foreign_modules()))
try:
    require_torch_free()
except SlfacError as error:
    print(error)
"""


def report(before=""):
    code = REPORT.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.splitlines()


def test_a_process_with_the_agent_in_it_holds_neither_torch_nor_onnx():
    assert report("import slfac.device, slfac.device.agent") == [""]


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_a_module_that_must_not_be_there_is_found_and_refused(name):
    lines = report(f"import types; sys.modules[{name!r}] = types.ModuleType({name!r})")
    assert lines[0] == name
    assert f"this process has imported {name}" in lines[1]


def test_both_are_named():
    lines = report("sys.modules.update(torch=sys, onnx=sys)")
    assert lines[0] == "torch,onnx"
    assert "imported torch and onnx" in lines[1]
