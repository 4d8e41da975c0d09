"""``slfac doctor`` as a process: its lines, its JSON, its exit code, and broken packages."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from slfac.wire.keys import new_keys

pytestmark = pytest.mark.device

PAGE = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text("utf-8")
LINE = re.compile(r"(ok|warning|failed|unknown) +(\S.*?)  +(\S.*)")
WAIT_S = 30


def command(*arguments):
    return [sys.executable, "-m", "slfac.cli", "doctor", *arguments]


def environment(planted=None, **more):
    """This process's, with a folder of modules in front of those that are installed."""
    paths = [str(planted)] * (planted is not None) + [path for path in sys.path if path]
    search = os.pathsep.join(paths)
    return {**os.environ, "PYTHONPATH": search, "PYTHONUNBUFFERED": "", **more}


def doctor(*arguments, planted=None, **more):
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        env=environment(planted, **more),
    )
    return done.returncode, done.stdout, done.stderr


def plant(folder, name, text):
    (folder / f"{name}.py").write_text(text)


def test_each_line_has_a_level_a_name_and_what_was_found(tmp_path):
    code, out, err = doctor("--cache", str(tmp_path / "cache"))
    assert (code, err) == (0, "")
    *lines, summary = out.splitlines()
    found = [LINE.fullmatch(line) or line for line in lines]
    levels = []
    for before, match in zip([None, *found], found, strict=False):
        if isinstance(match, str):
            assert re.fullmatch(r" {22} -> \S.*", match)
            assert before[1] != "ok"
        else:
            levels.append(match[1])
    counts = (f"{levels.count(each)} {each}" for each in ("ok", "warning", "failed", "unknown"))
    assert summary == ", ".join(counts)
    assert f"MB free at {tmp_path / 'cache'}" in out


def test_json_says_the_same(tmp_path):
    arguments = ("--cache", str(tmp_path), "--out", str(tmp_path))
    _, out, _ = doctor(*arguments)
    code, text, err = doctor(*arguments, "--json")
    assert (code, err) == (0, "")
    report = json.loads(text)
    names = [match[2] for line in out.splitlines() if (match := LINE.fullmatch(line))]
    assert [finding["name"] for finding in report["findings"]] == names
    assert set(report["findings"][0]) == {"level", "name", "found", "remedy"}


def test_the_page_describes_every_line(tmp_path):
    new_keys(tmp_path, "server")
    new_keys(tmp_path, "device")
    address = "tcp://127.0.0.1:1"
    _, text, _ = doctor(
        "--keys", str(tmp_path), "--out", str(tmp_path), "--server", address, "--json"
    )
    names = {finding["name"] for finding in json.loads(text)["findings"]}
    table = set(
        re.findall(r"`([a-z -]+)`", "".join(re.findall(r"^\| (.*?) \|", PAGE, re.MULTILINE)))
    )
    link = {"handshake", "release", "round trip", "clock offset", "link up", "link down"}
    rare = {"gpu", "power mode", "keys", "address", "packages", "server", "run", "tomli"}
    rare |= {"discovery", "discover"}
    assert table == names | link | rare


def test_something_failed_is_exit_code_1(tmp_path):
    code, out, err = doctor("--keys", str(tmp_path / "nowhere"))
    assert (code, err) == (1, "")
    assert re.search(r"^failed +keys +.*nowhere cannot be read: No such file", out, re.MULTILINE)
    assert "1 failed" in out


@pytest.mark.parametrize("package", ["zmq", "msgspec", "numpy", "onnxruntime", "safetensors"])
def test_a_missing_package_is_named_and_the_rest_is_looked_at(tmp_path, package):
    plant(tmp_path, package, f"raise ModuleNotFoundError(\"No module named '{package}'\")")
    keys = tmp_path / "keys"
    arguments = ("--keys", str(keys), "--server", "tcp://127.0.0.1:1", "--json")
    code, text, err = doctor(*arguments, planted=tmp_path)
    assert (code, err) == (1, "")
    found = {finding["name"]: finding for finding in json.loads(text)["findings"]}
    name = {"zmq": "pyzmq"}.get(package, package)
    assert f"No module named '{package}'" in found[name]["found"]
    assert found["memory"]["level"] in ("ok", "warning")
    if package == "zmq":
        assert found["keys"]["level"] == found["server"]["level"] == "unknown"
    else:
        assert found["keys"]["level"] == "failed"


def test_lines_come_as_they_are_found_and_ctrl_c_leaves_no_process(tmp_path):
    plant(tmp_path, "psutil", "import threading; threading.Event().wait()")
    process = subprocess.Popen(
        command(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    )
    while "onnxruntime" not in process.stdout.readline():
        assert process.poll() is None
    (child,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (130, "slfac doctor: stopped\n")
    psutil.wait_procs([child], timeout=WAIT_S)
    assert not child.is_running()


def test_names_that_the_terminal_cannot_show_are_shown_otherwise(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\xc3\xa9"
    done = subprocess.run(
        [*map(os.fsencode, command("--keys")), folder],
        capture_output=True,
        check=False,
        env=environment(PYTHONIOENCODING="ascii"),
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert rb"\udcff\xe9 cannot be read" in done.stdout


def test_the_process_itself_imports_nothing_that_may_be_broken():
    code = """
        import sys
        import slfac.device
        from slfac.cli import main
        main(["doctor"])
        heavy = {"torch", "onnxruntime", "numpy", "msgspec", "zmq", "safetensors", "psutil"}
        print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "\n"


def test_the_devices_face_has_its_names_and_no_others():
    import slfac.device

    for name in slfac.device.__all__:
        assert getattr(slfac.device, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = slfac.device.nonsense
