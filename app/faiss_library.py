"""FAISS, told which kernels to multiply matrices with. Everything imports it from here.

The wheels of `faiss-cpu` bring OpenBLAS 0.3.15 of 2021, which knows processors by their names, and takes SSE3 kernels
on any that is younger: k-means and finding the nearest of many centroids then take four times as long.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy  # noqa: F401 -- first: its own OpenBLAS knows younger processors, and is not to be told

__all__ = ["faiss", "kernels_for"]

_CORE_TYPE = "OPENBLAS_CORETYPE"
_HASWELL = {"avx2", "fma"}


def kernels_for(machine: str, flags: set[str]) -> str | None:
    """What OpenBLAS calls the kernels that every processor with AVX2 runs, where one of these flags does; else None,
    and it chooses by itself."""
    return "HASWELL" if machine.lower() in ("x86_64", "amd64") and flags >= _HASWELL else None


def _flags() -> set[str]:
    """What this processor can do, as Linux names it; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


_kernels = None if _CORE_TYPE in os.environ else kernels_for(platform.machine(), _flags())
if _kernels is not None:
    os.environ[_CORE_TYPE] = _kernels
try:
    import faiss
finally:
    if _kernels is not None:
        del os.environ[_CORE_TYPE]  # what else is loaded, here and in children, chooses for itself
