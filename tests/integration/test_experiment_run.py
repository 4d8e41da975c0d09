"""`slfac experiment run` with real processes: a matrix, its report, and what is found again."""

import json
import re

import pytest

from harness.experiments import assert_told_as_asked
from harness.site import start_cli

pytestmark = pytest.mark.slow
FILE = """
title = "tiny"
note = "too small to mean anything"
target = 1.0

[base]
model = "cnn"
cut = "pool1"
data = "{data}"
train_samples = 160
devices = 2
rounds = 1
batch_size = 40

[[matrix]]
codec = ["fp16@slfac"]
seed = [5]
set = {{ stream_blocks = 2, steps_per_round = 2, schedule = "cosine:final=0.1", {optimizers} }}

[[matrix]]
codec = ["slfac"]
mode = ["sfl-v2"]
partition = ["dirichlet:beta=0.5,min_samples=20"]
link = ["20Mbit/2ms"]
seed = [0]

[[matrix]]
codec = ["none"]
seed = [1]
set = {{ optimizer = "sgd:lr=1e6" }}

[[published]]
label = "Somebody, 2026"
round = 1
accuracy = 62.5
where = {{ mode = "sfl-v2", link = "20Mbit/2ms" }}
"""


@pytest.fixture
def start(tmp_path, digits):
    file = tmp_path / "tiny.toml"
    optimizers = 'optimizer = "adam:lr=0.01", device_optimizer = "sgd:lr=0.02"'
    file.write_text(FILE.format(data=digits, optimizers=optimizers))

    def run(*arguments, code=0):
        out = ("--out", str(tmp_path / "out"))
        process = start_cli("experiment", "run", str(file), *out, *arguments)
        shown, errors = process.communicate(timeout=300)
        assert process.returncode == code, shown + errors
        return shown, errors

    return run


@pytest.mark.timeout(600)
def test_a_matrix_is_run_reported_and_not_run_again(start, tmp_path):
    result = tmp_path / "tiny.json"
    # The last run diverges; the others have their figures all the same.
    shown, errors = start("--jobs", "2", "--result", str(result), code=60)
    assert errors.startswith("slfac experiment: 1 of 3 runs failed, the first: none, ")
    assert len(re.findall(r"^  \d/3  accuracy", shown, re.MULTILINE)) == 2
    runs = json.loads(result.read_text())["runs"]
    assert [run["codec"] for run in runs] == ["fp16@slfac", "slfac"]
    assert [run["settings"]["mode"] for run in runs] == ["parallel", "sfl-v2"]
    assert runs[1]["settings"]["link"] == ["20Mbit/2ms"]
    assert {run["train_samples"] for run in runs} == {160}
    assert json.loads(result.read_text())["published"][0]["accuracy"] == 62.5
    told = map(assert_told_as_asked, (tmp_path / "out" / "runs").iterdir())
    found = {(one["seed"], one["mode"]) for one in told}
    assert found == {(5, "parallel"), (0, "sfl-v2"), (1, "parallel")}
    page = result.with_suffix(".html").read_text("utf-8")
    for said in ("tiny", "too small to mean anything", "failed: none, ", "20Mbit/2ms", "sfl-v2"):
        assert said in page
    tables = result.with_suffix(".md").read_text("utf-8")
    assert tables.startswith("# tiny\n")
    (beside,) = re.findall(r"## (.*), beside what others have published\n", tables)
    assert "sfl-v2" in beside
    assert "| Somebody, 2026 | 1 | 62.5 % |" in tables
    assert tables.count("Somebody, 2026") == 1

    shown, errors = start("--dry-run", "--jobs", "2")
    assert "2 of 3 runs are there; time for the rest: about" in shown
    folder = tmp_path / "out" / "tiny"
    out = str(tmp_path / "again.html")
    process = start_cli("report", str(folder), "--out", out)
    shown, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "fp16@slfac" in shown


EMULATED = """
title = "over lossy links"
[base]
model = "cnn"
cut = "pool1"
data = "{data}"
train_samples = 160
devices = 2
rounds = 1
batch_size = 40
[[matrix]]
codec = ["slfac"]
link = ["20Mbit/5ms/1%"]
"""


@pytest.mark.timeout(400)
def test_links_that_lose_packets_are_emulated(tmp_path, digits):
    file = tmp_path / "lossy.toml"
    file.write_text(EMULATED.format(data=digits))
    arguments = ("experiment", "run", str(file), "--out", str(tmp_path / "out"))
    process = start_cli(*arguments)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 2, shown
    assert "pass --emulate" in errors
    process = start_cli(*arguments, "--emulate")
    shown, errors = process.communicate(timeout=300)
    if "need root" in errors:
        assert process.returncode == 2
        return
    assert process.returncode == 0, shown + errors
    (tables,) = (tmp_path / "out" / "runs").glob("*/tables.json")
    (table,) = json.loads(tables.read_text())
    lost = table["columns"].index("lost")
    assert sum(int(row[lost]) for row in table["rows"]) > 0
    assert "Emulated links" in (tmp_path / "out" / "lossy" / "report.html").read_text("utf-8")
