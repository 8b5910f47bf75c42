"""Ranks in an exact search, against the search itself and against sorting everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.index import IndexOptions, LiveIndex, Snapshot, publish
from models.portable import Distance, PushedQueries
from tests.app.crossings import normal
from workers.serving import exact_ranks as module
from workers.serving.exact_ranks import exact_ranks


@pytest.mark.parametrize(("metric", "score"), [("cosine", "ip"), ("l2", "l2"), ("ip", "ip")])
def test_ranks_are_those_of_the_index_whatever_ties_and_has_no_direction(
    metric: Distance, score: Distance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over several pieces of rows and of queries; a query's own row is not counted."""
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 50)
    monkeypatch.setattr(module, "_QUERIES_AT_ONCE", 7)
    rng, rows, asked = np.random.default_rng(5), 180, 20
    gallery = normal(rng, rows, 6)
    gallery[60:120] = gallery[:60]  # of which every other score is another's as well
    gallery[[3, 70, 179]] = 0
    queries = normal(rng, asked, 6)
    pushed = PushedQueries(queries, "l2" if score == "l2" else "ip", 1.0, np.zeros(asked, np.float32), True, "")
    own = np.where(np.arange(asked) % 3, np.arange(asked) * 9, -1)
    batches = iter([(np.arange(rows), gallery)])
    path = publish(tmp_path, batches, metric=metric, dimension=6, version=1, options=IndexOptions(kind="flat"))
    index = LiveIndex(metric, 6, snapshot=Snapshot.load(path))
    found = index.search(queries, rows, score_as=pushed.score).rows
    wanted = np.stack([rng.permutation(row[row != mine])[:40] for row, mine in zip(found, own, strict=True)])
    wanted[:, 5] = -1
    ranks = exact_ranks(wanted, own, pushed, gallery, metric)
    for i, mine in enumerate(own.tolist()):
        others = found[i][found[i] != mine].tolist()
        assert ranks[i].tolist() == [0 if row < 0 else 1 + others.index(row) for row in wanted[i].tolist()]
