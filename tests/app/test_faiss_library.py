"""FAISS multiplies matrices with kernels that are as good as the processor, and nothing else is told which to take."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from app.faiss_library import kernels_for, processor_flags

_LOADED = """
import json, os
import numpy
from threadpoolctl import threadpool_info

def kernels():
    return {one["filepath"]: one["architecture"] for one in threadpool_info() if one["internal_api"] == "openblas"}

before = kernels()
from app.faiss_library import faiss
print(json.dumps([before, kernels(), os.environ.get("OPENBLAS_CORETYPE")]))
"""

_AVX2 = {"sse3", "avx2", "fma"}
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


def _kernels(chosen: str | None = None) -> tuple[dict[str, str], list[str], str | None]:
    """The kernels that numpy's libraries have taken, those that FAISS's have, and what a variable says afterwards of
    those to come, in a process that is told by it which to take, or not."""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    if chosen is not None:
        environment["OPENBLAS_CORETYPE"] = chosen
    told = subprocess.run(
        [sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True, timeout=300, env=environment
    )
    before, after, left = json.loads(told.stdout)
    assert {path: after[path] for path in before} == before
    return before, [kernels.upper() for path, kernels in after.items() if path not in before], left


def test_its_kernels_are_no_older_than_the_processor_and_those_of_numpy_are_left_alone() -> None:
    kernels = kernels_for(platform.machine(), processor_flags())
    if kernels is None:
        pytest.skip("a processor for which OpenBLAS chooses by itself")
    assert _kernels()[1:] == ([kernels], None)


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="no such kernels here")
def test_who_says_which_kernels_to_take_is_left_to_it() -> None:
    assert _kernels("NEHALEM")[1:] == (["NEHALEM"], "NEHALEM")


@pytest.mark.parametrize(
    ("machine", "flags", "kernels"),
    [
        ("x86_64", _AVX512, "SKYLAKEX"),
        ("x86_64", _AVX512 - {"avx512vl"}, "HASWELL"),
        ("x86_64", _AVX2, "HASWELL"),
        ("AMD64", _AVX2, "HASWELL"),
        ("x86_64", _AVX2 - {"fma"}, None),
        ("x86_64", set(), None),
        ("aarch64", {"asimd"}, None),
    ],
)
def test_the_fastest_kernels_are_taken_that_a_processor_runs(
    machine: str, flags: set[str], kernels: str | None
) -> None:
    assert kernels_for(machine, flags) == kernels
