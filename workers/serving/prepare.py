"""What serving adds to a crossing's own error: a cascade's candidates, and an index tuned for other queries.

artifacts/<upgrade>/queries.npy    new vectors that indexes are tuned with, (m, d_new) float32
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.cascade import FEW, Cascade, has_cascade, open_cascade
from app.artifacts.crossings import open_crossing
from app.artifacts.tuning import Tuning
from app.composition import Crosswalk
from app.galleries.info import GalleryInfo
from app.index import CorruptIndex, Snapshot, tune
from app.upgrades.accepted_crossings import CrossingRoutes
from app.upgrades.tables import UpgradeRow
from models.portable import Array
from workers.rows.items import whole_gallery
from workers.rows.pairs import DatasetPairs
from workers.serving.cascade import CascadeQueries, measure_cascade, needs_cascade

QUERIES = 256  # that an index is tuned with
_FILE = "queries.npy"
_SEED = 0


def prepare_serving(
    crosswalk: Crosswalk, upgrade: UpgradeRow, judged_on: DatasetPairs, tick: Callable[[int, int], None]
) -> dict[str, dict[str, Any]]:
    """Measures how each gallery will be served as it is, and leaves what search needs among the artifacts.

    What the report says of each gallery: `cascade`, where the transformation cannot be pushed exactly, and `index`.
    """
    settings, folder = crosswalk.settings, crosswalk.settings.artifacts_dir / upgrade.id
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    crossing = open_crossing(folder, source, target)
    queries = judged_on.pairs.new
    some = np.flatnonzero(queries.any(axis=1))  # a zero vector is no query
    np.save(folder / _FILE, CascadeQueries(queries[some], some).drawn(QUERIES).vectors)
    found: dict[str, dict[str, Any]] = {name: {} for name in upgrade.galleries}
    if needs_cascade(crossing, queries):
        measured: list[Cascade] = []
        for name in upgrade.galleries:
            items = whole_gallery(crosswalk, crosswalk.galleries.info(name), _SEED)
            measured.append(
                measure_cascade(
                    items,
                    CascadeQueries(queries[some], judged_on.located(items, None, side=False).row[some]),
                    crossing,
                    source=source,
                    target=target,
                    overlap=settings.cascade_overlap,
                    limit=settings.cascade_limit,
                    scratch=folder,
                    tick=tick,
                )
            )
            found[name]["cascade"] = measured[-1].to_json()
        widest = max(measured, key=lambda cascade: cascade.k)
        many = max((cascade.k_for_100 for cascade in measured if cascade.k_for_100 is not None), default=None)
        replace(widest, k_for_100=many).save(folder)
    for name in upgrade.galleries:
        info = crosswalk.galleries.info(name)
        found[name]["index"] = _tuned(crosswalk, info, info.active, info.current.index_name, upgrade.id).to_json()
    return found


def tune_for_crossings(crosswalk: Crosswalk, info: GalleryInfo, number: int, index: str) -> None:
    """Tunes an index just published for every crossing whose queries search it. Call before it is pointed to."""
    upgrades = {info.generations[number].upgrade}
    if number == info.active:
        with crosswalk.database.read() as session:
            upgrades |= set(CrossingRoutes().crossable(session, info).values())
    for upgrade in sorted(one for one in upgrades if one is not None):
        if (crosswalk.settings.artifacts_dir / upgrade / _FILE).exists():
            _tuned(crosswalk, info, number, index, upgrade)


def _tuned(crosswalk: Crosswalk, info: GalleryInfo, number: int, index: str | None, upgrade: str) -> Tuning:
    """What an index gives to the queries of an upgrade, kept for search where it is not exact."""
    folder = crosswalk.settings.artifacts_dir / upgrade
    queries: Array = np.load(folder / _FILE)
    if index is None:
        return Tuning("flat", None, 1.0, None, 1.0, len(queries), FEW)
    try:
        snapshot = Snapshot.load(crosswalk.galleries.store(info).index_folder(number) / index)
    except CorruptIndex:  # search goes exactly until it is rebuilt, which tunes it
        return Tuning("flat", None, 1.0, None, 1.0, len(queries), FEW)
    generation, neighbours = info.generations[number], FEW
    score, row = generation.space.metric, crosswalk.upgrades.row(upgrade)
    if generation.upgrade != upgrade:
        pushed = open_crossing(folder, generation.space, crosswalk.models.space(row.target)).plain.push(queries)
        queries, score = pushed.queries, pushed.score
        neighbours = _candidates(folder)
    found = tune(snapshot, queries, score, min(neighbours, snapshot.block.ranked.count))
    if found is None:
        return Tuning("flat", None, 1.0, None, 1.0, len(queries), neighbours)
    before, after = found
    tuning = Tuning(
        snapshot.manifest.kind, before.effort, before.recall, after.effort, after.recall, len(queries), neighbours
    )
    tuning.save(folder, index)
    return tuning


def _candidates(folder: Path) -> int:
    """How many rows a pushed query asks an index for."""
    return open_cascade(folder).k if has_cascade(folder) else FEW
