"""How many threads a training is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
from threadpoolctl import ThreadpoolController

from models.side_by_side import SideBySide, side_by_side

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


@contextmanager
def fits_side_by_side(most: int | None = None) -> Iterator[SideBySide]:
    """As many threads to learn in as PyTorch would take, and no more than `most`, while it takes one in each. A GPU
    learns one after the other."""
    before = torch.get_num_threads()
    threads = 1 if torch.cuda.is_available() else before if most is None else min(most, before)
    try:
        with side_by_side(threads, partial(torch.set_num_threads, 1)) as working:
            yield working
    finally:
        torch.set_num_threads(before)  # which is what threads begin with that do not say it themselves


@cache
def _controller() -> ThreadpoolController:
    """Of the libraries loaded by now, which takes a while to find out."""
    return ThreadpoolController()
