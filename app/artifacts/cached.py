"""Files that never change once they are written, read once by each process."""

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def read_once(files: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keeps what a function read of the `files` that were read last.

    As `lru_cache`, of which type checkers do not know that the parameters stay what they were.
    """

    def keeping(function: Callable[P, T]) -> Callable[P, T]:
        return lru_cache(maxsize=files)(function)  # type: ignore[return-value]

    return keeping
