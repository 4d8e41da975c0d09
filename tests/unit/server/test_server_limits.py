"""The limit of open files, in a process of its own."""

import subprocess
import sys

SCRIPT = """
import resource
from slfac.server.limits import raise_open_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
raise_open_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
raise_open_files()
"""


def test_the_soft_limit_is_raised_to_the_hard_one():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
