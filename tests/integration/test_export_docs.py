"""The example in docs/api/export.md runs as it stands."""

import re
import runpy
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "api" / "export.md"


def test_the_example_runs(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(example)
    runpy.run_path(str(tmp_path / "example.py"))
    assert (tmp_path / "bundle" / "manifest.json").is_file()
