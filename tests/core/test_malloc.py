"""Options of glibc's malloc: freed memory is reused unless the user has set the options."""

import os
import platform
import subprocess
import sys

import pytest

# Twenty blocks of 16 MB, each written to and freed; prints the number of page faults.
PROGRAM = """
import resource
import numpy as np
from vexp.core.malloc import configure_malloc

configure_malloc()
def allocate():
    np.ones(4_000_000, np.float32)
allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the options are those of glibc's malloc")
@pytest.mark.parametrize(
    ("environment", "kept"),
    [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}, False)],  # the user's own
)
def test_configure_malloc_reuses_freed_memory_unless_environment_is_set(environment, kept):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=clean | environment, capture_output=True, text=True, check=True
    )
    assert (int(done.stdout) < 100) is kept
