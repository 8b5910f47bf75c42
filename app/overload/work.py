"""Which kind of work a request is. Each kind has a line of its own, so that none waits for another's."""

from __future__ import annotations

from enum import StrEnum

from starlette._utils import get_route_path
from starlette.types import Scope


class Work(StrEnum):
    """The kinds, each named as a refusal and the metrics call it."""

    SEARCHES = "searches"
    """Searches with one query, which are answered many together."""

    BULK_SEARCHES = "bulk searches"
    """Searches whose queries are in a body."""

    EMBEDDINGS = "embeddings"
    """Texts that an embedder is asked for, which may take its time."""

    WRITES = "writes"
    READS = "reads"
    """Everything else, of which none changes anything."""


_STATE = {"/", "/healthz", "/readyz", "/metrics"}
_SEARCH, _EMBEDDINGS = "/search", "/v1/embeddings"
_READING = {"GET", "HEAD", "OPTIONS"}


def work_of(scope: Scope) -> Work | None:
    """The kind of a request; None for what tells of the service's own state, and never waits."""
    path = get_route_path(scope)
    reading = scope["method"] in _READING
    if path == _SEARCH:
        return Work.SEARCHES if reading else Work.BULK_SEARCHES
    if path == _EMBEDDINGS:
        return Work.EMBEDDINGS
    if path in _STATE:
        return None
    return Work.READS if reading else Work.WRITES
