"""Whether a gallery's items, generations and indexes are there, whole, and hold the same rows."""

from collections.abc import Iterator

import numpy as np

from app.composition import Crosswalk
from app.galleries.info import READY, GalleryInfo, GenerationInfo
from app.galleries.lineage import Lineage
from app.galleries.store import GalleryStore
from app.index import CorruptIndex, IndexSnapshot, RowIds, as_indexed
from app.maintenance.artifact_checks import damaged_files
from app.maintenance.findings import Finding, IndexedGeneration
from app.maintenance.table_checks import table_findings
from app.problems import Unavailable
from app.storage.lance_table import ROW_ID, VersionGone, embedding_column
from models.portable import ArtifactError


def gallery_findings(crosswalk: Crosswalk, info: GalleryInfo) -> Iterator[Finding]:
    """What is wrong with a gallery as the database describes it."""
    subject, folder = f"gallery {info.id}", crosswalk.settings.galleries_dir / info.folder
    if info.elsewhere is not None:  # items and vectors are the user's own store's
        yield from damaged_files(subject, folder / "samples")
        return
    findings = list(table_findings(subject, folder / "items.lance"))
    yield from findings
    if any(finding.fault for finding in findings):
        return  # everything else is derived from the items
    store = crosswalk.galleries.store(info)
    for generation in info.generations.values():
        column = embedding_column(generation.space.model)
        if store.items.has(column):
            stored = store.items.schema.field(column).type.list_size
            if stored != generation.space.dimension:
                what = f"vectors of {generation.space.model} have {stored} dimensions, not {generation.space.dimension}"
                yield Finding("disagrees", subject, folder / "items.lance", what, "restore")
    yield from damaged_files(subject, folder / "samples")
    if info.active not in info.generations or info.current.state != READY:
        yield Finding("disagrees", subject, folder, f"generation {info.active} answers, but is not ready", "restore")
        return
    for number, generation in info.generations.items():
        if generation.state == READY:
            yield from _generation(crosswalk, info, store, generation, f"{subject} generation {number}")


def _generation(
    crosswalk: Crosswalk, info: GalleryInfo, store: GalleryStore, generation: GenerationInfo, subject: str
) -> Iterator[Finding]:
    try:
        lineage = crosswalk.galleries.lineage(info, generation.number)
    except ArtifactError as error:
        at = crosswalk.settings.artifacts_dir / str(generation.transformation)
        yield Finding("damaged", subject, at, f"its crossing cannot be used: {error}", "restore")
        return
    if generation.parent is not None:
        yield from _vectors(info, store, generation, lineage, subject)
    if generation.index_name is not None:
        yield from _index(crosswalk, info, store, generation, lineage, subject)


def _vectors(
    info: GalleryInfo, store: GalleryStore, generation: GenerationInfo, lineage: Lineage, subject: str
) -> Iterator[Finding]:
    """Of a transformed generation: its table, and that what was written to the items since makes it complete."""
    anew = IndexedGeneration(info.id, generation.number)
    path = store.folder / "generations" / f"{generation.number}.lance"
    findings = list(table_findings(subject, path, remedy="rebuild", generation=anew))
    yield from findings
    if any(finding.fault for finding in findings) or generation.store_version is None:
        return
    try:
        changes, written = store.changes(lineage, generation.store_version)
    except VersionGone:
        what = f"the items as of version {generation.store_version}, which it was made from, are gone"
        yield Finding("disagrees", subject, path, what, "rebuild", anew)
        return
    superseded = np.concatenate([changes.removed, *(part.rows for part in written)])
    held = store.generation(generation.number, lineage.dimension).standings().rows
    kept = held[np.isin(held, superseded, invert=True)]
    rows = np.concatenate([kept, *(part.rows for part in written)])
    if difference := _difference(rows, _rows(store, lineage, changes.version)):
        yield Finding("disagrees", subject, path, f"of its vectors, {difference}", "rebuild", anew)


def _index(
    crosswalk: Crosswalk,
    info: GalleryInfo,
    store: GalleryStore,
    generation: GenerationInfo,
    lineage: Lineage,
    subject: str,
) -> Iterator[Finding]:
    """A published index: its checksums, its space, its rows, and, where nothing is transformed, its vectors."""
    anew = IndexedGeneration(info.id, generation.number)
    path = store.index_folder(generation.number) / str(generation.index_name)
    if not path.is_dir():
        yield Finding("missing", subject, path, "its index is not there", "rebuild", anew)
        return
    try:
        snapshot = crosswalk.galleries.index_engine.open(path)
    except CorruptIndex as error:
        yield Finding("damaged", subject, path, str(error), "rebuild", anew)
        return
    except Unavailable as problem:
        yield Finding("unchecked", subject, path, problem.detail.rstrip("."), "retry")
        return
    manifest = snapshot.manifest
    if (manifest.metric, manifest.dimension) != (generation.space.metric, generation.space.dimension):
        what = f"its index is of {manifest.metric} and {manifest.dimension} dimensions, not {generation.space}"
        yield Finding("disagrees", subject, path, what, "rebuild", anew)
        return
    try:
        rows = _rows(store, lineage, manifest.version)
    except (OSError, ValueError):
        what = f"the items as of version {manifest.version}, which its index holds, are gone"
        yield Finding("disagrees", subject, path, what, "rebuild", anew)
        return
    if difference := _difference(snapshot.rows, rows):
        yield Finding("disagrees", subject, path, f"of its index's rows, {difference}", "rebuild", anew)
    elif generation.parent is None:
        try:
            others = _other_vectors(store, lineage, snapshot)
        except Unavailable as problem:
            yield Finding("unchecked", subject, path, problem.detail.rstrip("."), "retry")
            return
        if others:
            what = f"its index holds other vectors of {others} items than the items do"
            yield Finding("disagrees", subject, path, what, "rebuild", anew)


def _rows(store: GalleryStore, lineage: Lineage, version: int) -> RowIds:
    """The row ids of the items that a generation holds as of a version: those with a vector of one of its models."""
    known = store.items.columns(version)
    columns = [name for name in map(embedding_column, lineage.models) if name in known]
    where = " OR ".join(f"`{name}` IS NOT NULL" for name in columns) or "false"
    batches = store.items.scan(["id"], where=where, version=version)
    return np.concatenate([np.empty(0, np.int64), *(b.column(ROW_ID).to_numpy().astype(np.int64) for b in batches)])


def _difference(held: RowIds, expected: RowIds) -> str:
    """How two sets of row ids differ, in words; empty where they do not."""
    lacking, excess = len(np.setdiff1d(expected, held)), len(np.setdiff1d(held, expected))
    repeated = len(held) - len(np.unique(held))
    parts = ((lacking, "are missing"), (excess, "are of no item"), (repeated, "come twice"))
    return ", ".join(f"{count} {how}" for count, how in parts if count)


def _other_vectors(store: GalleryStore, lineage: Lineage, snapshot: IndexSnapshot) -> int:
    """Of how many items the index holds another vector than the items do."""
    others, ranked = 0, snapshot.block.ranked.size
    for part in store.project(lineage, version=snapshot.version):
        indexed, has_direction, _ = as_indexed(part.vectors, snapshot.manifest.metric)
        places = snapshot.ids.located(part.rows)
        here = (places >= 0) & (places < ranked)
        same = here == has_direction
        both = here & has_direction
        same[both] = (snapshot.vectors_at(places[both]) == indexed[both]).all(axis=1)
        others += int((~same).sum())
    return others
