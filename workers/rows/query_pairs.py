"""Reads the log of queries that an upgrade may learn from: those in vectors of both models that nobody judged."""

from __future__ import annotations

from app.composition import Crosswalk
from app.datasets.store import RELEVANT
from app.evaluations.holdings import of_queries
from app.upgrades.info import UpgradeInfo
from models.transformations.pairs import Pairs
from workers.rows.evaluation_rows import read

MOST_QUERIES = 10_000
_SEED = 0


def unjudged_queries(crosswalk: Crosswalk, upgrade: UpgradeInfo) -> Pairs | None:
    """Queries of the upgrade's dataset with vectors of both models and without a judgement, at most `MOST_QUERIES`,
    drawn at random from more; None where there are none. Judged ones are left to judge."""
    held = of_queries(crosswalk.datasets, upgrade.asked.dataset)
    if held is None:
        return None
    models = [upgrade.source, upgrade.target]
    found = read(crosswalk, held, models, where=[f"NOT ({held.given(RELEVANT)})"], most=MOST_QUERIES, seed=_SEED)
    old, new = (found.vectors[model].values for model in models)
    queries = old.any(axis=1) & new.any(axis=1)  # a zero vector is none
    return Pairs(old[queries], new[queries]) if queries.any() else None
