"""How many threads a training is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

WORTH_THREADS = 1e9  # floating-point operations from which a step is shared between threads


@contextmanager
def threads_worth_it(operations: float) -> Iterator[None]:
    """Uses one thread of the processor for steps so small that several threads would mostly wait for each other.

    operations: of floating point, in one step.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(before if operations >= WORTH_THREADS else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def blas_threads_worth_it(operations: float) -> Iterator[None]:
    """The same of numpy's matrix products and decompositions, and of them alone; operations: in all."""
    if operations >= WORTH_THREADS:
        yield
        return
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    """Of the libraries loaded by now, which takes a while to find out."""
    return ThreadpoolController()
