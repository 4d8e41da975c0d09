import subprocess
import sys

import pytest

pytestmark = pytest.mark.device

MB = 1 << 20
CHILD = "from slfac.device.memory import peak_rss_bytes; print(peak_rss_bytes())"
FAT = f"""
import subprocess, sys
block = bytearray(b"x") * (200 * {MB})
child = subprocess.run([sys.executable, "-c", {CHILD!r}], capture_output=True, check=True)
print(child.stdout.decode())
"""
GONE = f"""
from slfac.device.memory import peak_rss_bytes
before = peak_rss_bytes()
block = bytearray(b"x") * (200 * {MB})
del block
print(peak_rss_bytes() - before)
"""


def number(code):
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return int(done.stdout)


def test_memory_that_was_freed_still_counts():
    assert 190 * MB < number(GONE) < 230 * MB


def test_a_fat_parent_is_not_counted():
    assert 5 * MB < number(FAT) < 150 * MB
