"""The allocator keeps what was freed: no new mapping for each large array."""

import subprocess
import sys

import pytest

COUNT = """
import resource, sys
from tfrec.training import memory
if sys.argv[1] == "keep":
    assert memory.keep_freed()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use():
    held = [b"x" * (5 << 20) for _ in range(10)]  # 50 MiB, all written to

use()
before = faults()
for _ in range(5):
    use()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_memory_is_not_mapped_again():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True,
                                text=True, check=True).stdout)
        for how in ("keep", "plain")
    }  # fmt: skip
    assert faults["keep"] < 0.1 * faults["plain"]
