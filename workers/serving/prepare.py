"""What serving adds to a crossing's own error: a cascade's candidates, and an index tuned for other queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from app.artifacts.cascade import Cascade
from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.tuning import Tuning
from app.composition import Crosswalk
from app.failpoints import Failpoint, reached
from app.upgrades.info import UpgradeInfo
from models.portable import replacing
from workers.rows.items import whole_gallery
from workers.rows.pairs import DatasetPairs
from workers.serving.cascade import CascadeQueries, measure_cascade, needs_cascade
from workers.serving.index_tuning import tune_for_queries

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
    with replacing(artifacts.queries, sealed=True) as partial:  # whose name ends like the path's: save would add .npy
        np.save(partial, CascadeQueries(queries[some], some).drawn(QUERIES).vectors)
    reached(Failpoint.QUERIES_SAVED)
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
        index = tune_for_queries(crosswalk, info, info.active, info.current.index_name, upgrade.id, upgrade.target)
        measurements[name] = ServingMeasurements(index, cascades.get(name))
    return measurements
