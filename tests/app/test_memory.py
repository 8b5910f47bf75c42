"""Large blocks of memory go back to the system when they are freed, whatever small ones came after them."""

import os
import subprocess
import sys
from pathlib import Path

import app
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(app.__file__).parent.parent
SCRIPT = """
import ctypes, sys
from app.memory import give_memory_back

if sys.argv[1] == "back":
    give_memory_back()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def held():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) // 1024

libc.free(libc.malloc(30 * 2**20))  # after which glibc takes blocks of that size for usual
before, blocks = held(), []
for _ in range(20):
    blocks.append(libc.malloc(4 * 2**20))
    ctypes.memset(blocks[-1], 1, 4 * 2**20)
    libc.malloc(2_000)  # which stays
for block in blocks:
    libc.free(block)
print(held() - before)
"""


def _kept(how: str) -> int:
    """MiB that are kept of 80 that were freed."""
    command = [sys.executable, "-c", SCRIPT, how]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    )
    return int(done.stdout)


def test_large_blocks_that_are_freed_are_not_kept() -> None:
    assert _kept("back") < 10
    assert _kept("as it was") > 40  # else this shows nothing
