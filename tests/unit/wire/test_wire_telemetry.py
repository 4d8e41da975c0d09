"""onnxruntime tells nobody that it runs."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.device

# Where onnxruntime believes that a test or a build calls it, it keeps still by itself.
_QUIETS = ("CI", "PYTEST", "BUILD", "GITHUB", "TF_", "JENKINS", "TEAMCITY", "TRAVIS", "ORT_")
_CODE = """
from slfac.wire import runtime
import onnxruntime
onnxruntime.get_available_providers()
"""


def test_onnxruntime_leaves_no_id_of_the_machine(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_QUIETS)}
    for name in ("XDG_CACHE_HOME", "TEST_TMPDIR"):
        environment.pop(name, None)
    subprocess.run(
        [sys.executable, "-c", _CODE],
        env={**environment, "HOME": str(tmp_path)},
        cwd=tmp_path,
        check=True,
        timeout=120,
    )
    assert list(tmp_path.rglob("*")) == []
