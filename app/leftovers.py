"""Leftovers: what processes that were killed left on disk, and nothing names any more.

A change of state is one commit, in SQL or in Lance; files are written before it and removed after it. Whoever dies in
between leaves files that are in nobody's way, and take space. They are removed when a gateway starts, and by a repair.
Nobody can be about to name them once they have not been touched for long (`leftover_seconds`); what is inside a
gallery's folder is left over as soon as nothing works on that gallery.
"""

import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import structlog
from sqlalchemy.orm import Session

from app.composition import Crosswalk
from app.embedders.kept_vectors import forget_old_vectors
from app.failpoints import Failpoint, reached
from app.galleries.generations import lock
from app.galleries.info import GalleryInfo
from app.galleries.leftovers import unnamed_in
from app.galleries.listing import EXPORT_TAG
from app.galleries.rebuilds import rebuild_of
from app.index import CollectionRelease, RowIds
from app.keys.access import EVERYTHING
from app.problems import NotFound, ObjectStoreAway
from app.storage.lance_table import ROW_ID, TableGone
from app.storage.shared_files import FETCHING

_TABLES = ("datasets/*/*", "galleries/*/*", "galleries/*/generations/*")
_UNFINISHED = (
    "artifacts/*/**/.*.partial*",
    "spaces/.*.partial*",
    "galleries/*/samples/.*.partial*",
    f"galleries/*/items.lance/_refs/tags/{EXPORT_TAG}*.json",  # of exports that were cut off
    *(f"{table}.sha256/.*.partial*" for table in _TABLES),
    *(f"{table}.lance/*/.tmp*" for table in _TABLES),  # Lance's own, which its cleaning up passes over
)
"""Files that are named so until they are whole, beside what they are to become."""

log = structlog.get_logger(__name__)


def leftovers(crosswalk: Crosswalk) -> Iterator[Path]:
    """The files and folders that `sweep_leftovers` would remove now. Nothing is written, nor kept from others."""
    yield from _untouched_for_long(crosswalk)
    for info in crosswalk.galleries.every():
        yield from _of_gallery(crosswalk, info)


def sweep_leftovers(crosswalk: Crosswalk) -> None:
    """Removes what nothing names, and answers of embedders that were kept for long. What cannot be removed is logged,
    and left to the next sweep."""
    releasing = crosswalk.galleries.index_engine.releasing()
    for path in _untouched_for_long(crosswalk):
        _remove(path, releasing)
    for info in crosswalk.galleries.every():
        try:
            if _of_gallery(crosswalk, info):
                with crosswalk.database.session() as session:
                    # Nobody begins to build a generation, or to index one, until this has ended.
                    lock(session, [info.id])
                    for path in _of_gallery(crosswalk, info, session):
                        _remove(path, releasing)
        except Exception:  # The service must start all the same.
            log.exception("leftovers of a gallery stay until the next sweep", gallery=info.id)
    try:
        forget_old_vectors(crosswalk.database, crosswalk.settings.kept_vectors_days)
    except Exception:
        log.exception("old answers of embedders stay until the next sweep")


def _untouched_for_long(crosswalk: Crosswalk) -> Iterator[Path]:
    """Uploads, downloads, folders of galleries, datasets and runs (upgrades and trainings of encoders), and what is not
    whole."""
    settings = crosswalk.settings
    galleries, datasets = crosswalk.galleries, crosswalk.datasets
    unfinished = chain.from_iterable(settings.data_dir.glob(pattern) for pattern in _UNFINISHED)
    parts: tuple[tuple[Iterable[Path], Callable[[], Collection[str]]], ...] = (
        (settings.uploads_dir.glob("upload-*"), tuple),
        (settings.downloads_dir.glob("*"), tuple),
        (settings.working_dir.glob("*"), lambda: _jobs(crosswalk)),
        ((settings.data_dir / FETCHING).glob("*"), tuple),
        (settings.galleries_dir.glob("*"), lambda: {info.folder for info in galleries.every()}),
        (settings.datasets_dir.glob("*"), lambda: {info.folder for info in datasets.every()}),
        (settings.artifacts_dir.glob("*"), lambda: run_names(crosswalk)),
        (unfinished, tuple),
    )
    for found, named in parts:
        old = [path for path in found if _untouched_seconds(path) >= settings.leftover_seconds]
        # Names are asked for afterwards, so that what was found and is named by then is kept.
        kept = named() if old else ()
        yield from (path for path in old if path.name not in kept)


class _Ending(Exception):
    """What was going on is to stop."""


def forget_counts_of_gone(crosswalk: Crosswalk, ending: threading.Event | None = None) -> None:
    """Removes how often items were found that are in no gallery any more. What fails is logged, and left to the next
    sweep. ending: set where it is to stop."""
    ending = ending or threading.Event()
    try:
        for info in crosswalk.galleries.every():
            if info.elsewhere is None and not ending.is_set():
                _forget_counts_in(crosswalk, info, ending)
    except _Ending:
        return
    except ObjectStoreAway as problem:
        log.warning("counts of items that are gone stay until the next sweep", why=problem.detail)
    except Exception:  # The service must go on all the same.
        log.exception("counts of items that are gone stay until the next sweep")


def _forget_counts_in(crosswalk: Crosswalk, info: GalleryInfo, ending: threading.Event) -> None:
    """Of one gallery. Raises _Ending and ObjectStoreAway."""

    def there() -> RowIds:
        rows = [np.empty(0, np.int64)]
        for batch in crosswalk.galleries.store(info).items.scan([]):
            if ending.is_set():
                raise _Ending
            rows.append(batch.column(ROW_ID).to_numpy().astype(np.int64))
        return np.concatenate(rows)

    try:
        crosswalk.traffic.forget_gone(info.id, there, ending)
    except TableGone:  # deleted meanwhile, and its counts with it
        return
    except (_Ending, ObjectStoreAway):
        raise
    except Exception:  # The other galleries must be looked through all the same.
        log.exception("counts of items that are gone stay until the next sweep", gallery=info.id)


def run_names(crosswalk: Crosswalk) -> set[str]:
    """Upgrades and trainings of encoders, which each name a folder of artifacts."""
    return {crossing.upgrade for crossing in crosswalk.upgrades.every()} | set(crosswalk.encoders.runs())


def _jobs(crosswalk: Crosswalk) -> set[str]:
    with crosswalk.database.read() as session:
        return crosswalk.jobs.unended(session)


def _of_gallery(crosswalk: Crosswalk, info: GalleryInfo, within: Session | None = None) -> list[Path]:
    """What no generation of a gallery points at; nothing while something is at work there, since what that has made it
    is about to point at. `within`: the session of a caller who has locked the gallery, so that this stays true."""
    folder = crosswalk.settings.galleries_dir / info.folder
    found = unnamed_in(folder, info)  # before the database is asked: what is made from now on is not among it
    now = at_rest(crosswalk, info, within) if found else None
    return [] if now is None else sorted(found & unnamed_in(folder, now))


def at_rest(crosswalk: Crosswalk, info: GalleryInfo, within: Session | None = None) -> GalleryInfo | None:
    """A gallery as it is now; None where something is at work on it, or it is gone. `within`: as `_of_gallery`'s."""
    with crosswalk.database.read(within) as session:
        try:
            now = crosswalk.galleries.info(info.id, session)
        except NotFound:  # the whole folder is a leftover, or has just been deleted
            return None
        rebuilds = (crosswalk.jobs.progress(session, rebuild_of(info.id, number)) for number in now.generations)
        at_work = crosswalk.upgrades.working_on(EVERYTHING, gallery=info.id, within=session) or any(rebuilds)
    return None if at_work or now.folder != info.folder else now


def _remove(path: Path, releasing: CollectionRelease) -> None:
    if path.is_dir() and not releasing.release(path):
        return
    log.info("removing what nothing names", path=str(path))
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:  # Another gateway that starts removes it too.
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        log.exception("a leftover stays until the next sweep", path=str(path))
    reached(Failpoint.LEFTOVER_REMOVED)


def _untouched_seconds(path: Path) -> float:
    """For how long nobody has written to a path or to what lies directly in it; 0 for one that is
    gone, or that cannot be looked at."""
    try:
        written = [path.stat().st_mtime, *(one.stat().st_mtime for one in (path.iterdir() if path.is_dir() else ()))]
    except OSError:
        return 0.0
    return max(0.0, time.time() - max(written))
