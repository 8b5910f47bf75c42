"""Chooses which items of a gallery to embed with the new model, from what is stored of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from app.composition import Crosswalk, compose
from app.failpoints import Failpoint, reached
from app.galleries.info import GalleryInfo
from app.galleries.lineage import SIDE_INFORMATION
from app.galleries.samples import SampleRequest
from app.galleries.schemas import Sample
from models.portable import Array, publish
from models.re_embedding.sampling import choose
from workers.context import StepContext
from workers.rows.partial import Partial

SEED = 0


def run(context: StepContext) -> None:
    """Streams the gallery once, and writes the sample down."""
    crosswalk = compose(context.settings, context.database)
    wanted = SampleRequest(**context.lease.arguments)
    info = crosswalk.galleries.info(wanted.gallery)
    files = crosswalk.galleries.folder(info)
    rows: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    chosen = choose(_features(context, crosswalk, info, rows), wanted.n, metric=info.current.space.metric, seed=SEED)
    picked = np.concatenate(rows)[chosen.indices]
    table = crosswalk.galleries.items(info).by_row(picked, ["id"])
    names = dict(zip(table.column("_rowid").to_pylist(), table.column("id").to_pylist(), strict=True))
    kept = [
        (names[row], weight)
        for row, weight in zip(picked.tolist(), chosen.weights.tolist(), strict=True)
        if row in names
    ]
    sample = Sample(ids=[item for item, _ in kept], weights=[weight for _, weight in kept])
    path = wanted.path(files.folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    publish(path, sample.model_dump_json().encode(), sealed=True)
    files.shared.publish(path)
    reached(Failpoint.SAMPLE_SAVED)
    context.finish(lambda _session: None)


def _features(
    context: StepContext, crosswalk: Crosswalk, info: GalleryInfo, rows: list[Any]
) -> Iterator[tuple[Array, Array | None]]:
    """Old vectors and, where every item has it, side-information; the row ids streamed by are added to `rows`."""
    items = crosswalk.galleries.items(info)
    lineage = crosswalk.galleries.lineage(info, info.active)
    side = items.has(SIDE_INFORMATION) and not items.count(f"{SIDE_INFORMATION} IS NULL")
    columns = [name for name in [*lineage.columns, SIDE_INFORMATION] if items.has(name)]
    total, done = items.count(), 0
    for batch in items.scan(list(dict.fromkeys(columns))):
        projected = lineage.project(batch)
        rows.append(projected.rows)
        reached = np.isin(batch.column("_rowid").to_numpy().astype(np.int64), projected.rows)
        yield projected.vectors, Partial.of(batch, SIDE_INFORMATION).values[reached] if side else None
        done += batch.num_rows
        context.progress(done, total)
