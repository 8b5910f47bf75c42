"""Leftovers in the galleries of an object store, found by listing and removed once a gateway has started, as
`app.leftovers` does on a disk.

An object appears wholly or not at all, so none is unfinished; what was cut off in between is whole, and unnamed.
"""

import threading
import time
from collections.abc import Callable, Collection
from fnmatch import fnmatch

import structlog

from app.composition import Crosswalk
from app.galleries.generations import lock
from app.galleries.info import GalleryInfo
from app.galleries.leftovers import unnamed_keys
from app.galleries.listing import EXPORT_TAG
from app.index import CollectionRelease
from app.leftovers import at_rest, run_names
from app.problems import ObjectStoreAway
from app.storage.object_store import ObjectStore, StoredObject
from app.storage.shared_files import shared_files

_PARTS = ("generations", "indexes", "items.lance/_refs")
"""Where in a gallery's folder leftovers may be."""
_EXPORTS = f"galleries/*/items.lance/_refs/tags/{EXPORT_TAG}*.json"

log = structlog.get_logger(__name__)


def sweep_store(crosswalk: Crosswalk, ending: threading.Event | None = None) -> None:
    """Removes what nothing names from the galleries in the object store, if there is one. What cannot be removed is
    logged, and left to the next sweep. ending: set where it is to stop before the next gallery."""
    store = shared_files(crosswalk.settings).store
    if store is None:
        return
    try:
        _tell_unnamed(crosswalk, store)
        releasing = crosswalk.galleries.index_engine.releasing()
        for info in crosswalk.galleries.every():
            if ending is not None and ending.is_set():
                return
            _try_gallery(crosswalk, store, info, releasing)
    except ObjectStoreAway as problem:
        log.warning("leftovers stay in the object store until the next sweep", why=problem.detail)
    except Exception:  # The service must go on all the same.
        log.exception("leftovers stay in the object store until the next sweep")


def _try_gallery(crosswalk: Crosswalk, store: ObjectStore, info: GalleryInfo, releasing: CollectionRelease) -> None:
    """As `_sweep_gallery`; what fails in one gallery alone is logged. Raises ObjectStoreAway."""
    try:
        _sweep_gallery(crosswalk, store, info, releasing)
    except ObjectStoreAway:
        raise
    except Exception:  # The other galleries must be swept all the same.
        log.exception("leftovers of a gallery stay until the next sweep", gallery=info.id)


def _tell_unnamed(crosswalk: Crosswalk, store: ObjectStore) -> None:
    """Logs the folders of galleries, datasets and runs that nothing names. They are left: a service that was started on
    another database by mistake must not remove what the right one names."""
    parts: tuple[tuple[str, Callable[[], Collection[str]]], ...] = (
        ("galleries", lambda: {info.folder for info in crosswalk.galleries.every()}),
        ("datasets", lambda: {info.folder for info in crosswalk.datasets.every()}),
        ("artifacts", lambda: run_names(crosswalk)),
    )
    for part, named in parts:
        found = {folder.rpartition("/")[2] for folder in store.folders_in(part)}
        # Names are asked for afterwards, so that what was found and is named by then is not told.
        unnamed = sorted(found - set(named())) if found else []
        if unnamed:
            log.warning("nothing in this database names what is in the object store", part=part, folders=unnamed)


def _sweep_gallery(crosswalk: Crosswalk, store: ObjectStore, info: GalleryInfo, releasing: CollectionRelease) -> None:
    folder = f"galleries/{info.folder}"
    # Before the database is asked: what is made from now on is not among it.
    objects = [one for part in _PARTS for one in store.listed(f"{folder}/{part}")]
    keys = [one.key for one in objects]
    least = time.time() - crosswalk.settings.leftover_seconds
    _remove(store, [one for one in objects if fnmatch(one.key, _EXPORTS) and one.written.timestamp() <= least])
    if not unnamed_keys(folder, keys, info) or at_rest(crosswalk, info) is None:
        return
    with crosswalk.database.session() as session:
        # Nobody begins to build a generation, or to index one, until this has ended.
        lock(session, [info.id])
        now = at_rest(crosswalk, info, session)
        unnamed = set() if now is None else unnamed_keys(folder, keys, now)
        for unit in sorted(unnamed):
            if releasing.release(crosswalk.settings.data_dir / unit):
                _remove(store, [one for one in objects if one.key == unit or one.key.startswith(f"{unit}/")])


def _remove(store: ObjectStore, objects: list[StoredObject]) -> None:
    if objects:
        log.info("removing what nothing names", first=objects[0].key, objects=len(objects))
        store.remove([one.key for one in objects])
