"""What a request is told whose gallery, dataset or generation was deleted by another while it was answered."""

from pathlib import PurePosixPath

import structlog

from app.composition import Crosswalk
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
    if (deleted := deleted_since(crosswalk, error.uri)) is not None:
        return deleted
    if place.name not in _OWN:
        # Time and again for one table, it is lost, and no removal.
        log.warning("a table was removed while it was read", table=error.uri)
        return _removed()
    log.error("a table is missing", table=error.uri)
    of = f"Gallery {gallery.id!r}" if (gallery := _gallery_of(crosswalk, place)) else "A dataset"
    return DamagedFile(f"{of} has lost a table: {error.uri} is not there.", file=error.uri)


def deleted_since(crosswalk: Crosswalk, table: str) -> Problem | None:
    """The problem of a request for which something went wrong with a table: NotFound where the gallery or dataset that
    it belonged to is deleted by now, Unavailable where its generation is; None where neither is.

    Such a table can fail in any way: whoever was writing it when it was removed may have made some of its files anew.
    table: where it is or was.
    """
    place = PurePosixPath(table)
    gallery = _gallery_of(crosswalk, place)
    if gallery is None and all(one.folder not in place.parts for one in crosswalk.datasets.every()):
        return NotFound("What this request is about was deleted while it was answered.")
    if gallery is not None and place.parent.name == "generations" and int(place.stem) not in gallery.generations:
        return _removed()
    return None


def _gallery_of(crosswalk: Crosswalk, place: PurePosixPath) -> GalleryInfo | None:
    return next((one for one in crosswalk.galleries.every() if one.folder in place.parts), None)


def _removed() -> Unavailable:
    return Unavailable("What this request was reading has just been removed. Try again.")
