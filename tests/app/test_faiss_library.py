"""FAISS multiplies matrices with kernels that are as good as the processor, and nothing else is told which to take."""

import json
import subprocess
import sys

import pytest

from app.faiss_library import kernels_for

_LOADED = """
import json, os
import numpy
from threadpoolctl import threadpool_info

def kernels():
    return {one["filepath"]: one["architecture"] for one in threadpool_info() if one["internal_api"] == "openblas"}

before = kernels()
from app.faiss_library import _flags, faiss
after = kernels()
print(json.dumps([before, after, "avx2" in _flags(), os.environ.get("OPENBLAS_CORETYPE")]))
"""


def test_its_kernels_are_no_older_than_the_processor_and_those_of_numpy_are_left_alone() -> None:
    told = subprocess.run([sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True, timeout=300)
    before, after, able, left = json.loads(told.stdout)
    assert left is None
    assert {path: after[path] for path in before} == before
    of_faiss = [kernels for path, kernels in after.items() if path not in before]
    assert of_faiss, "FAISS brings no OpenBLAS of its own any more: app.faiss_library has nothing to do"
    if not able:
        pytest.skip("a processor without AVX2")
    assert of_faiss == ["Haswell"]


@pytest.mark.parametrize(
    ("machine", "flags", "kernels"),
    [
        ("x86_64", {"sse3", "avx2", "fma"}, "HASWELL"),
        ("AMD64", {"avx2", "fma"}, "HASWELL"),
        ("x86_64", {"avx2"}, None),
        ("x86_64", set(), None),
        ("aarch64", {"asimd"}, None),
    ],
)
def test_only_processors_with_avx2_are_told_for(machine: str, flags: set[str], kernels: str | None) -> None:
    assert kernels_for(machine, flags) == kernels


def test_who_chooses_kernels_is_left_to_it() -> None:
    environment = {"OPENBLAS_CORETYPE": "NEHALEM", "PATH": ""}
    told = subprocess.run(
        [sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True, timeout=300, env=environment
    )
    before, after, _, left = json.loads(told.stdout)
    assert left == "NEHALEM"
    assert [kernels for path, kernels in after.items() if path not in before] == ["Nehalem"]
