"""The log of queries that an upgrade may learn from: those in vectors of both models that nobody judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.composition import Crosswalk
from app.datasets.store import RELEVANT
from app.evaluations.holdings import Holding, every, of_dataset, of_queries
from app.storage.lance_table import embedding_column, vector_type, vectors_of
from app.upgrades.info import UpgradeInfo
from models.portable import Array, check_seal, replacing
from models.transformations.pairs import Pairs, row_digest
from workers.rows.evaluation_rows import Evaluated, read

MOST_QUERIES = 10_000
_SEED = 0


@dataclass(frozen=True)
class LoggedQueries:
    """Queries that are learned from, as both models see them, and so cannot judge what learned from them.

    ids: (n,) object, those of the dataset's queries.
    """

    ids: NDArray[Any]
    pairs: Pairs

    def save(self, path: Path) -> None:
        """Writes a row for each query, so that a crash leaves the file complete or absent."""
        columns = {"id": self.ids.tolist(), "old": _cells(self.pairs.old), "new": _cells(self.pairs.new)}
        with replacing(path, sealed=True) as partial:
            pq.write_table(pa.table(columns), partial)

    @classmethod
    def load(cls, path: Path) -> LoggedQueries | None:
        """Reads the file that `save` wrote; None where it was not written, since nothing learned from queries."""
        if not path.exists():
            return None
        check_seal(path)
        table = pq.read_table(path)
        (_, old), (_, new) = (vectors_of(table.column(name)) for name in ("old", "new"))
        return cls(np.array(table.column("id").to_pylist(), object), Pairs(old, new))

    def among(self, rows: Evaluated, model: str) -> NDArray[np.bool_]:
        """Which rows are such a query, by its id or by its vector of the new `model`: (m,) bool."""
        ids = set(self.ids.tolist())
        return np.array([id in ids for id in rows.id], bool) | holds(self.pairs.new, rows.vectors[model].values)

    def apart_from(self, pairs: Pairs) -> LoggedQueries | None:
        """The queries that are none of these pairs, told by the vector of the new model; None where none is left.

        A pair that was uploaded after a crossing had learned from its text as a query is so held out as any other.
        """
        apart = np.flatnonzero(~holds(pairs.new, self.pairs.new))
        return LoggedQueries(self.ids[apart], self.pairs.subset(apart)) if len(apart) else None


def holds(vectors: Array, asked: Array) -> NDArray[np.bool_]:
    """Which of the vectors asked about (m, d) are among `vectors` (n, d), to the last bit: (m,) bool."""
    digests = {row_digest(vector) for vector in vectors}
    return np.array([row_digest(vector) in digests for vector in asked], bool)


def unjudged_queries(crosswalk: Crosswalk, upgrade: UpgradeInfo) -> LoggedQueries | None:
    """Queries of the upgrade's dataset with vectors of both models and without a judgement, each once; of more than
    `MOST_QUERIES`, so many drawn at random. None where there are none.

    What may judge is left to judge: also judged queries of the evaluation set, told by their id or their vector of the
    new model, and pairs, told by that vector.
    """
    held = of_queries(crosswalk.datasets, upgrade.asked.dataset)
    if held is None:
        return None
    models = [upgrade.source, upgrade.target]
    found = read(crosswalk, held, models, where=[f"NOT ({held.given(RELEVANT)})"], most=MOST_QUERIES, seed=_SEED)
    old, new = (found.vectors[model].values for model in models)
    first: dict[bytes, int] = {}
    for place in np.flatnonzero(old.any(axis=1) & new.any(axis=1)).tolist():  # a zero vector is none
        first.setdefault(row_digest(new[place]), place)
    digest_of = {found.id[place]: digest for digest, place in first.items()}
    for id, digest in _judging(crosswalk, upgrade):
        first.pop(digest, None)
        if id is not None:
            first.pop(digest_of.get(id, b""), None)
    kept = np.array(sorted(first.values()), np.int64)
    return LoggedQueries(found.id[kept], Pairs(old[kept], new[kept])) if len(kept) else None


def _judging(crosswalk: Crosswalk, upgrade: UpgradeInfo) -> Iterator[tuple[str | None, bytes]]:
    """The ids and the digests of the new vectors of what may judge the upgrade: judged queries, and pairs, whose ids
    are those of items and not said."""
    for dataset in dict.fromkeys([upgrade.asked.dataset, *upgrade.asked.datasets]):
        for _, digest in _digests(of_dataset(crosswalk.datasets, dataset), upgrade.target):
            yield None, digest
        queries = of_queries(crosswalk.datasets, dataset)
        if queries is not None:
            yield from _digests(queries, upgrade.target, queries.given(RELEVANT))


def _digests(held: Holding, model: str, *conditions: str) -> Iterator[tuple[str, bytes]]:
    column = embedding_column(model)
    if not held.rows.has(column):
        return
    for batch in held.rows.scan(["id", column], where=every(held.given(column), *conditions)):
        _, vectors = vectors_of(batch.column(column))
        yield from zip(batch.column("id").to_pylist(), map(row_digest, vectors), strict=True)


def _cells(vectors: Array) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, type=vector_type(vectors.shape[1]))
