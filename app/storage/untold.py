"""Versions of tables that this process has committed and nobody was told of yet: readers need not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_Versions = set[tuple[str, int]]

_lock = threading.Lock()
_untold: _Versions = set()
_of_this_request: ContextVar[_Versions | None] = ContextVar("versions_of_this_request", default=None)


@contextmanager
def told_afterwards() -> Iterator[None]:
    """What is committed inside, in threads that are given its context too, counts as untold until this is left, which
    is to be before whoever asked for it is answered."""
    own: _Versions = set()
    token = _of_this_request.set(own)
    try:
        yield
    finally:
        _of_this_request.reset(token)
        with _lock:
            _untold.difference_update(own)


def committed(table: str, version: int) -> None:
    """Notes a version of a table, where `told_afterwards` is around it."""
    own = _of_this_request.get()
    if own is not None:
        with _lock:
            own.add((table, version))
            _untold.add((table, version))


def all_untold(table: str, versions: range) -> bool:
    """Whether none of these versions can be known to anybody yet."""
    with _lock:
        return len(versions) <= len(_untold) and all((table, version) in _untold for version in versions)
