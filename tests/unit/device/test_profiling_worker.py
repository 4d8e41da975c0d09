"""Processes that measure one thing: what they say, and how they may end."""

import subprocess
import sys

import pytest

from harness.offline import KEPT
from slfac.device.profiling import child
from slfac.device.profiling.child import run_worker
from slfac.device.profiling.kernels import array_bytes, kernels
from slfac.device.profiling.worker import Done, Task, work
from slfac.wire.errors import RunError

pytestmark = pytest.mark.device


@pytest.mark.parametrize("kind", ["gemm", "copy", "set"])
def test_repetitions_follow_one_another_and_last_as_long_as_asked(kind):
    done = work(Task(kind=kind, repetitions=3, least_s=0.02, array_bytes=1 << 16))
    assert len(done.repetitions) == 3
    before = 0
    for begin_ns, end_ns, count in done.repetitions:
        assert before <= begin_ns
        assert end_ns - begin_ns >= 20_000_000
        assert count >= 1
        before = end_ns


def test_a_worker_of_its_own_shares_the_clock_and_gets_its_threads(monkeypatch):
    asked = {}
    real = subprocess.Popen

    def popen(command, **options):
        asked.update(options["env"], command=command)
        return real(command, **options)

    monkeypatch.setattr(child.subprocess, "Popen", popen)
    import time

    begin_ns = time.monotonic_ns()
    done = run_worker(Task(kind="set", repetitions=2, array_bytes=800), threads=3)
    assert begin_ns < done.repetitions[0][0] < done.repetitions[1][1] < time.monotonic_ns()
    assert asked["command"][:3] == [sys.executable, "-m", "slfac.device.profiling.worker"]
    assert asked["OMP_NUM_THREADS"] == asked["OPENBLAS_NUM_THREADS"] == "3"


def test_a_fronts_memory_is_that_of_its_process():
    task = Task(kind="front", bundle=str(KEPT), batch=4, optimizer="sgd")
    done = run_worker(task, threads=1)
    assert 30 << 20 < done.peak_bytes < 1 << 30
    assert done.step_s > 0


def test_a_process_that_fails_says_why():
    task = Task(kind="front", bundle="nowhere", batch=4, optimizer="sgd")
    with pytest.raises(RunError, match=r"its process failed: .*nowhere"):
        run_worker(task, threads=1)


def ending(monkeypatch, code):
    """Workers that run some other code."""
    real = subprocess.Popen
    command = [sys.executable, "-c", code]
    monkeypatch.setattr(child.subprocess, "Popen", lambda _, **options: real(command, **options))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed, as the system does when memory runs out"),
        ("import os; os.kill(os.getpid(), 11)", "ended by signal 11"),
        ("import sys; sys.exit(7)", "exit code 7"),
        ("raise SystemExit('no memory')", "no memory"),
        ("print('hello')", "is no result"),
        ("pass", "is no result"),
    ],
)
def test_however_a_process_ends_it_is_one_line(code, said, monkeypatch):
    ending(monkeypatch, code)
    with pytest.raises(RunError, match=said):
        run_worker(Task(kind="gemm"), threads=1)


def test_a_process_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(child, "_START_S", 0.3)
    ending(monkeypatch, "import threading; threading.Event().wait()")
    with pytest.raises(RunError, match="did not end within"):
        run_worker(Task(kind="gemm"), threads=1)


def test_what_libraries_print_before_is_passed_over(monkeypatch):
    ending(monkeypatch, "print('warning: x'); print('{\"repetitions\": [[1, 2, 3]]}')")
    assert run_worker(Task(kind="gemm"), threads=1) == Done(repetitions=((1, 2, 3),))


def test_products_are_measured_with_one_thread_and_with_all():
    found = kernels(1 << 20)
    products = [section for section, _ in found if section.kind == "gemm"]
    assert {section.dtype for section in products} == {"fp32", "fp64"}
    assert 1 in {section.threads for section in products}
    assert len({section.label for section, _ in found}) == len(found)
    assert {section.kind for section, _ in found} == {"gemm", "copy", "set"}
    assert all(section.amount > 0 for section, _ in found)


@pytest.mark.parametrize(
    ("size", "asked", "expected", "said"),
    [("32768K", 0, 64 << 20, ""), ("64M", 0, 128 << 20, ""), ("8M", 10, 10 << 20, "10 MiB")],
)
def test_arrays_are_larger_than_the_last_cache(size, asked, expected, said, tmp_path):
    from slfac.device.energy.host import host_at

    cache = tmp_path / "sys/devices/system/cpu/cpu0/cache/index3"
    cache.mkdir(parents=True)
    (cache / "size").write_text(f"{size}\n")
    found, note = array_bytes(host_at(tmp_path), asked)
    assert found == expected
    assert said in note
    assert bool(note) == bool(said)
