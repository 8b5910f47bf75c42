"""Leftovers in an object store, as `app.leftovers` has them on a disk: found by listing, removed when a gateway starts.

An object appears wholly or not at all, so none is unfinished; what was cut off in between is whole, and unnamed.
"""

import time
from collections.abc import Callable, Collection
from fnmatch import fnmatch

import structlog

from app.composition import Crosswalk
from app.galleries.generations import lock
from app.galleries.info import GalleryInfo
from app.galleries.leftovers import unnamed_keys
from app.galleries.listing import EXPORT_TAG
from app.leftovers import at_rest, run_names
from app.problems import StoreAway
from app.storage.object_store import ObjectStore, StoredObject
from app.storage.shared_files import shared_files

_EXPORTS = f"galleries/*/items.lance/_refs/tags/{EXPORT_TAG}*.json"

log = structlog.get_logger(__name__)


def sweep_store(crosswalk: Crosswalk) -> None:
    """Removes what nothing names from the object store, if there is one. What cannot be removed is logged, and left to
    the next sweep."""
    store = shared_files(crosswalk.settings).store
    if store is None:
        return
    try:
        _sweep_old(crosswalk, store)
        for info in crosswalk.galleries.every():
            _sweep_gallery(crosswalk, store, info)
    except StoreAway as problem:
        log.warning("leftovers stay in the object store until the next sweep", why=problem.detail)


def _sweep_old(crosswalk: Crosswalk, store: ObjectStore) -> None:
    """Folders of galleries, datasets and runs that nothing names, and tags of exports that were cut off."""
    parts: tuple[tuple[str, Callable[[], Collection[str]]], ...] = (
        ("galleries", lambda: {info.folder for info in crosswalk.galleries.every()}),
        ("datasets", lambda: {info.folder for info in crosswalk.datasets.every()}),
        ("artifacts", lambda: run_names(crosswalk)),
    )
    least = time.time() - crosswalk.settings.leftover_seconds
    for part, named in parts:
        objects = store.listed(part)
        written: dict[str, float] = {}
        for one in objects:
            name = one.key.split("/")[1]
            written[name] = max(written.get(name, 0.0), one.written.timestamp())
        old = {name for name, when in written.items() if when <= least}
        # Names are asked for afterwards, so that what was found and is named by then is kept.
        gone = old - set(named()) if old else set()
        _remove(store, [one for one in objects if one.key.split("/")[1] in gone])
        _remove(store, [one for one in objects if fnmatch(one.key, _EXPORTS) and one.written.timestamp() <= least])


def _sweep_gallery(crosswalk: Crosswalk, store: ObjectStore, info: GalleryInfo) -> None:
    folder = f"galleries/{info.folder}"
    objects = store.listed(folder)  # before the database is asked: what is made from now on is not among it
    keys = [one.key for one in objects]
    if not unnamed_keys(folder, keys, info) or at_rest(crosswalk, info) is None:
        return
    with crosswalk.database.session() as session:
        # Nobody begins to build a generation, or to index one, until this has ended.
        lock(session, [info.id])
        now = at_rest(crosswalk, info, session)
        unnamed = set() if now is None else unnamed_keys(folder, keys, now)
        for unit in sorted(unnamed):
            if crosswalk.galleries.index_engine.release(crosswalk.settings.data_dir / unit):
                _remove(store, [one for one in objects if one.key == unit or one.key.startswith(f"{unit}/")])


def _remove(store: ObjectStore, objects: list[StoredObject]) -> None:
    if objects:
        log.info("removing what nothing names", first=objects[0].key, objects=len(objects))
        store.remove([one.key for one in objects])
