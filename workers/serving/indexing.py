"""Builds the index of a generation from its vectors, after bringing these up to date with the items."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from app.composition import Crosswalk
from app.failpoints import Failpoint, reached
from app.galleries.info import GalleryInfo, GenerationInfo, generation_tag
from app.galleries.lineage import Projected
from app.galleries.store import GalleryStore
from app.index import CorruptIndex, grow
from app.storage.lance_table import VersionGone
from workers.serving.index_tuning import tune_for_crossings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Built:
    """A published index, and the version of the items that it holds."""

    generation: int
    version: int
    index: str


def build_index(crosswalk: Crosswalk, info: GalleryInfo, number: int, progress: Callable[[int, int], None]) -> Built:
    """Publishes an index of a generation. Doing it again is harmless: another version is published beside the first.

    Raises DamagedFile where the items are not what was written: no index is built of them.
    """
    store, generation = crosswalk.galleries.store(info), info.generations[number]
    store.items.check()
    version = _catch_up(crosswalk, info, store, generation)
    if (built := _grown(crosswalk, info, store, generation, version)) is None:
        path = _built_anew(crosswalk, info, store, generation, version, progress)
        built = Built(number, version, path.name)
    tune_for_crossings(crosswalk, info, number, built.index)
    hold(store, number, built.version)
    return built


def _grown(
    crosswalk: Crosswalk, info: GalleryInfo, store: GalleryStore, generation: GenerationInfo, version: int
) -> Built | None:
    """The published index with what was written since; None where there is none, or it is better built anew.

    version: that of a transformed generation's vectors, which its index must hold as well.
    """
    if generation.index_name is None:
        return None
    folder = store.index_folder(generation.number)
    try:
        base = crosswalk.galleries.index_engine.growable(folder / generation.index_name)
        if base is None:
            return None
        changes, written = store.changes(crosswalk.galleries.lineage(info, generation.number), base.version)
    except (CorruptIndex, VersionGone) as error:
        log.info("index is built anew", gallery=info.id, generation=generation.number, reason=str(error))
        return None
    if generation.parent is not None and changes.version != version:
        return None
    path = grow(
        folder,
        base,
        np.concatenate([np.empty(0, np.int64), *(part.rows for part in written)]),
        np.concatenate([np.empty((0, generation.space.dimension), np.float32), *(part.vectors for part in written)]),
        changes.removed,
        version=changes.version,
        options=crosswalk.galleries.index_options(info),
    )
    if path is None:
        return None
    crosswalk.galleries.index_engine.share(path)
    return Built(generation.number, changes.version, path.name)


def _built_anew(
    crosswalk: Crosswalk,
    info: GalleryInfo,
    store: GalleryStore,
    generation: GenerationInfo,
    version: int,
    progress: Callable[[int, int], None],
) -> Path:
    """An index of all of a generation's vectors, published."""
    total, number = store.items.count(version=version), generation.number
    before = None
    if generation.index_name is not None:
        with suppress(CorruptIndex):
            before = crosswalk.galleries.index_engine.manifest(store.index_folder(number) / generation.index_name)
    return crosswalk.galleries.index_engine.publish(
        store.index_folder(number),
        (
            (part.rows, part.vectors)
            for part in _counted(_vectors(crosswalk, info, store, generation, version), total, progress)
        ),
        metric=generation.space.metric,
        dimension=generation.space.dimension,
        version=version,
        options=crosswalk.galleries.index_options(info),
        before=before,
    )


def hold(store: GalleryStore, number: int, version: int) -> None:
    """Keeps the items readable as of a version that a generation's vectors or index hold: what came later is told by
    comparing with it. Call before the pointer moves."""
    store.items.tag(generation_tag(number, version), version)


def settle(crosswalk: Crosswalk, gallery: str, built: Built) -> None:
    """Lets go of what the indexes before this one needed. Call after the pointer has moved."""
    info = crosswalk.galleries.info(gallery)
    store = crosswalk.galleries.store(info)
    for tag in store.items.tags():
        if tag.startswith(generation_tag(built.generation, "")) and tag != generation_tag(
            built.generation, built.version
        ):
            store.items.untag(tag)
    crosswalk.galleries.show_active(info, info.active)
    crosswalk.galleries.index_engine.prune(store.index_folder(built.generation), [built.index])
    reached(Failpoint.INDEX_SETTLED)


def _catch_up(crosswalk: Crosswalk, info: GalleryInfo, store: GalleryStore, generation: GenerationInfo) -> int:
    """Carries what was written since into a transformed generation's vectors; the items' version they then hold.

    Damaged vectors, and such as are too old to be caught up, are made anew from the items.
    """
    if generation.parent is None:
        return store.items.version
    if generation.store_version is None:
        raise ValueError(f"generation {generation.number} of {info.id} has no vectors yet")
    lineage = crosswalk.galleries.lineage(info, generation.number, uncertainty=True)
    made = store.generation(generation.number, generation.space.dimension)
    if made.whole():
        try:
            changes, written = store.changes(lineage, generation.store_version)
        except VersionGone:
            log.info("what happened since is no longer known", gallery=info.id, generation=generation.number)
        else:
            made.apply(changes.removed, written)
            return changes.version
    else:
        made.remove()
    version = store.items.version
    made.rewrite(store.project(lineage, version=version))
    return version


def _vectors(
    crosswalk: Crosswalk, info: GalleryInfo, store: GalleryStore, generation: GenerationInfo, version: int
) -> Iterator[Projected]:
    if generation.parent is None:
        return store.project(crosswalk.galleries.lineage(info, generation.number), version=version)
    return store.generation(generation.number, generation.space.dimension).scan()


def _counted(parts: Iterator[Projected], total: int, progress: Callable[[int, int], None]) -> Iterator[Projected]:
    done = 0
    for part in parts:
        yield part
        done += len(part.rows)
        progress(done, total)
