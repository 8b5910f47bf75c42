"""What serving adds to a crossing's own error: a cascade's candidates, and an index tuned for other queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from app.artifacts.cascade import FEW, Cascade, has_cascade, open_cascade
from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.tuning import Tuning
from app.composition import Crosswalk
from app.galleries.info import GalleryInfo
from app.index import CorruptIndex, Snapshot, tune
from app.upgrades.accepted_crossings import CrossingRoutes
from app.upgrades.info import UpgradeInfo
from models.portable import Array
from workers.rows.items import whole_gallery
from workers.rows.pairs import DatasetPairs
from workers.serving.cascade import CascadeQueries, measure_cascade, needs_cascade

QUERIES = 256  # that an index is tuned with
_SEED = 0


@dataclass(frozen=True)
class ServingMeasurements:
    """How one gallery, as it is, answers the queries of an upgrade's new model.

    index: what its published index finds of them; cascade: None where the transformation can be pushed into a query
    exactly, so that no candidates need to be ranked anew.
    """

    index: Tuning
    cascade: Cascade | None


def prepare_serving(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, judged_on: DatasetPairs, tick: Callable[[int, int], None]
) -> dict[str, ServingMeasurements]:
    """Measures how each gallery will be served as it is, and leaves what search needs among the artifacts.

    Returns the measurements by gallery, for the report.
    """
    settings, artifacts = crosswalk.settings, UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade.id)
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    crossing = open_crossing(artifacts, source, target)
    queries = judged_on.pairs.new
    some = np.flatnonzero(queries.any(axis=1))  # a zero vector is no query
    np.save(artifacts.queries, CascadeQueries(queries[some], some).drawn(QUERIES).vectors)
    cascades: dict[str, Cascade] = {}
    if needs_cascade(crossing, queries):
        for name in upgrade.galleries:
            items = whole_gallery(crosswalk, crosswalk.galleries.info(name), _SEED)
            cascades[name] = measure_cascade(
                items,
                CascadeQueries(queries[some], judged_on.located(items, None, side=False).row[some]),
                crossing,
                source=source,
                target=target,
                overlap=settings.cascade_overlap,
                limit=settings.cascade_limit,
                scratch=artifacts.folder,
                tick=tick,
            )
        widest = max(cascades.values(), key=lambda cascade: cascade.k)
        many = max((cascade.k_for_100 for cascade in cascades.values() if cascade.k_for_100 is not None), default=None)
        replace(widest, k_for_100=many).save(artifacts)
    measurements = {}
    for name in upgrade.galleries:
        info = crosswalk.galleries.info(name)
        index = _tuned(crosswalk, info, info.active, info.current.index_name, upgrade.id)
        measurements[name] = ServingMeasurements(index, cascades.get(name))
    return measurements


def tune_for_crossings(crosswalk: Crosswalk, info: GalleryInfo, number: int, index: str) -> None:
    """Tunes an index just published for every crossing whose queries search it. Call before it is pointed to."""
    upgrades = {info.generations[number].upgrade}
    if number == info.active:
        with crosswalk.database.read() as session:
            upgrades |= set(CrossingRoutes().crossable(session, info).values())
    for upgrade in sorted(one for one in upgrades if one is not None):
        if UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade).queries.exists():
            _tuned(crosswalk, info, number, index, upgrade)


def _tuned(crosswalk: Crosswalk, info: GalleryInfo, number: int, index: str | None, upgrade: str) -> Tuning:
    """What an index gives to the queries of an upgrade, kept for search where it is not exact."""
    artifacts = UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade)
    queries: Array = np.load(artifacts.queries)
    if index is None:
        return Tuning("flat", None, 1.0, None, 1.0, len(queries), FEW)
    try:
        snapshot = Snapshot.load(crosswalk.galleries.store(info).index_folder(number) / index)
    except CorruptIndex:  # search goes exactly until it is rebuilt, which tunes it
        return Tuning("flat", None, 1.0, None, 1.0, len(queries), FEW)
    generation, neighbours = info.generations[number], FEW
    score = generation.space.metric
    if generation.upgrade != upgrade:
        target = crosswalk.models.space(crosswalk.upgrade_steps.info(upgrade).target)
        pushed = open_crossing(artifacts, generation.space, target).plain.push(queries)
        queries, score = pushed.queries, pushed.score
        neighbours = _candidates(artifacts)
    found = tune(snapshot, queries, score, min(neighbours, snapshot.block.ranked.count))
    if found is None:
        return Tuning("flat", None, 1.0, None, 1.0, len(queries), neighbours)
    before, after = found
    tuning = Tuning(
        snapshot.manifest.kind, before.effort, before.recall, after.effort, after.recall, len(queries), neighbours
    )
    tuning.save(artifacts, index)
    return tuning


def _candidates(artifacts: UpgradeArtifacts) -> int:
    """How many rows a pushed query asks an index for."""
    return open_cascade(artifacts).k if has_cascade(artifacts) else FEW
