"""What a request is told whose gallery, dataset or generation was deleted by another while it was answered."""

from pathlib import PurePosixPath

import structlog

from app.composition import Crosswalk
from app.problems import DamagedFile, NotFound, Problem, Unavailable
from app.storage.lance_table import TableGone

_OWN = ("items.lance", "rows.lance")
"""Tables that are there for as long as their gallery or dataset is; all others may be removed before."""

log = structlog.get_logger(__name__)


def why_gone(crosswalk: Crosswalk, error: TableGone) -> Problem:
    """The problem of a request for which a table was missing: NotFound where the gallery or dataset that it belonged to
    is deleted by now, Unavailable where it was of what can be removed from one, since asking again leads to what has
    taken its place, and DamagedFile where it should be there."""
    place = PurePosixPath(error.uri)
    galleries, datasets = crosswalk.galleries.every(), crosswalk.datasets.every()
    owners = [f"Gallery {one.id!r}" for one in galleries if one.folder in place.parts]
    owners += [f"Dataset {one.id!r}" for one in datasets if one.folder in place.parts]
    if not owners:
        return NotFound("What this request is about was deleted while it was answered.")
    if place.name not in _OWN:
        # Time and again for one table, it is lost, and no removal.
        log.warning("a table was removed while it was read", table=error.uri)
        return Unavailable("What this request was reading has just been removed. Try again.")
    log.error("a table is missing", table=error.uri)
    return DamagedFile(f"{owners[0]} has lost a table: {error.uri} is not there.", file=error.uri)
