"""What a request is told whose gallery, dataset or generation was deleted by another while it was answered."""

from pathlib import PurePosixPath

import structlog

from app.composition import Crosswalk
from app.datasets.info import DatasetInfo
from app.galleries.info import GalleryInfo
from app.problems import DamagedFile, NotFound, Problem, Unavailable
from app.storage.lance_table import TableGone

_OWN = ("items.lance", "rows.lance")
"""Tables that are there for as long as their gallery or dataset is; all others may be removed before."""

log = structlog.get_logger(__name__)


def why_gone(crosswalk: Crosswalk, error: TableGone) -> Problem:
    """The problem of a request for which a table was missing: as `deleted_since` where it should be missing, and else
    Unavailable of what can be removed from a gallery, since asking again leads to what has taken its place, and
    DamagedFile of what should be there."""
    place = PurePosixPath(error.uri)
    owner = _owner_of(crosswalk, place)
    if owner is None:
        return _deleted(owner)
    if place.name not in _OWN:
        # Time and again for one table, it is lost, and no removal.
        log.warning("a table was removed while it was read", table=error.uri)
        return _deleted(owner)
    log.error("a table is missing", table=error.uri)
    kind = "Gallery" if isinstance(owner, GalleryInfo) else "Dataset"
    return DamagedFile(f"{kind} {owner.id!r} has lost a table: {error.uri} is not there.", file=error.uri)


def deleted_since(crosswalk: Crosswalk, table: str) -> Problem | None:
    """The problem of a request for which something went wrong with a table: NotFound where the gallery or dataset that
    it belonged to is deleted by now, Unavailable where its generation is; None where neither is.

    Such a table can fail in any way: whoever was writing it when it was removed may have made some of its files anew.
    table: where it is or was.
    """
    place = PurePosixPath(table)
    owner = _owner_of(crosswalk, place)
    return _deleted(owner) if owner is None or _is_of_no_generation(owner, place) else None


def _owner_of(crosswalk: Crosswalk, place: PurePosixPath) -> GalleryInfo | DatasetInfo | None:
    """The gallery or dataset that a table belongs to; None where it is deleted."""
    every: tuple[GalleryInfo | DatasetInfo, ...] = (*crosswalk.galleries.every(), *crosswalk.datasets.every())
    return next((one for one in every if one.folder in place.parts), None)


def _is_of_no_generation(owner: GalleryInfo | DatasetInfo, place: PurePosixPath) -> bool:
    """Whether a table is that of a generation which its gallery does not have any more."""
    return (
        isinstance(owner, GalleryInfo)
        and place.parent.name == "generations"
        and place.stem not in map(str, owner.generations)
    )


def _deleted(owner: GalleryInfo | DatasetInfo | None) -> Problem:
    """Of a table whose owner is deleted, or, where that is still there, of what was removed from it."""
    if owner is None:
        return NotFound("What this request is about was deleted while it was answered.")
    return Unavailable("What this request was reading has just been removed. Try again.")
