"""FAISS, told which kernels to multiply matrices with. Everything imports it from here.

The wheels of `faiss-cpu` bring OpenBLAS 0.3.15 of 2021, which knows processors by their names, and takes SSE3 kernels
on any that is younger: k-means and finding the nearest of many centroids then take four times as long.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy  # noqa: F401 -- first: its own OpenBLAS knows younger processors, and is not to be told

__all__ = ["faiss", "kernels_for", "processor_flags"]

_CORE_TYPE = "OPENBLAS_CORETYPE"
_KERNELS = {
    "SKYLAKEX": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma"},
    "HASWELL": {"avx2", "fma"},
}
"""What a processor must be able to do to run some kernels, by what OpenBLAS calls these; the fastest first."""


def kernels_for(machine: str, flags: set[str]) -> str | None:
    """The fastest kernels that run on a processor with these flags; None where OpenBLAS is to choose by itself."""
    if machine.lower() not in ("x86_64", "amd64"):
        return None
    return next((kernels for kernels, needed in _KERNELS.items() if needed <= flags), None)


def processor_flags() -> set[str]:
    """What this processor can do, as Linux names it; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


_kernels = None if _CORE_TYPE in os.environ else kernels_for(platform.machine(), processor_flags())
if _kernels is not None:
    os.environ[_CORE_TYPE] = _kernels
try:
    import faiss
finally:
    if _kernels is not None:
        del os.environ[_CORE_TYPE]  # what else is loaded, here and in children, chooses for itself
