"""Reads the judged queries that an upgrade is proved by: those with a vector of both its models."""

from __future__ import annotations

import json
from dataclasses import dataclass

from app.composition import Crosswalk
from app.datasets.store import RELEVANT
from app.evaluations.holdings import of_queries
from app.upgrades.info import UpgradeInfo
from models.proof.gate import AcceptanceGate
from models.proof.judged_queries import FEWEST_QUERIES, JudgedQueries
from workers.context import StepFailed
from workers.rows.evaluation_rows import read
from workers.rows.items import Items
from workers.rows.judgements import judged_rows

MOST_QUERIES = 10_000
"""Of more, so many are drawn at random."""


@dataclass(frozen=True)
class JudgingQueries:
    """The queries that a gallery's crossing is judged by, None where there are not enough; notes: for the report."""

    queries: JudgedQueries | None
    notes: tuple[str, ...] = ()


def judging_queries(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, items: Items, gate: AcceptanceGate, seed: int
) -> JudgingQueries:
    """The judged queries of the upgrade's evaluation set, or else of its dataset, as judged on a gallery's items.

    Raises StepFailed where there are too few and the gate asks for a figure that nothing else can tell.
    """
    for dataset in (upgrade.asked.evaluation, upgrade.asked.dataset):
        queries = None if dataset is None else _read(crosswalk, upgrade, dataset, items, seed)
        if queries is None:
            continue
        if queries.enough:
            return JudgingQueries(queries)
        few = (
            f"Dataset {dataset!r} has {len(queries)} judged queries with vectors of both {upgrade.source!r} and "
            f"{upgrade.target!r}, of which {int(queries.judgements.answerable.sum())} have a relevant item in this "
            f"gallery; {FEWEST_QUERIES} are needed to judge by them."
        )
        if gate.of_judged_queries:
            raise StepFailed(f"The gate's {gate.metric} cannot be judged. {few} PUT /datasets/{dataset}/queries.")
        return JudgingQueries(None, (few,))
    if gate.of_judged_queries:
        raise StepFailed(
            f"The gate's {gate.metric} is of judged queries, and no longer has dataset {upgrade.asked.dataset!r} any "
            f"with vectors of both models. PUT /datasets/{upgrade.asked.dataset}/queries."
        )
    return JudgingQueries(None)


def judged_items(crosswalk: Crosswalk, upgrade: UpgradeInfo) -> set[str]:
    """The ids of all items that judged queries of the upgrade's datasets name."""
    named: set[str] = set()
    for dataset in upgrade.asked.datasets:
        asked = of_queries(crosswalk.datasets, dataset)
        if asked is not None:
            for batch in asked.rows.scan([RELEVANT], where=asked.given(RELEVANT)):
                named.update(*(json.loads(text) for text in batch.column(RELEVANT).to_pylist()))
    return named


def _read(crosswalk: Crosswalk, upgrade: UpgradeInfo, dataset: str, items: Items, seed: int) -> JudgedQueries | None:
    """The judged queries of a dataset that have vectors of both models; None where there is none."""
    asked = of_queries(crosswalk.datasets, dataset)
    if asked is None:
        return None
    judged = asked.given(RELEVANT)
    rows = read(crosswalk, asked, [upgrade.source, upgrade.target], where=[judged], most=MOST_QUERIES, seed=seed)
    if not len(rows):
        return None
    found = judged_rows(asked.rows, rows.id.tolist(), items.id.tolist())
    old, new = (rows.vectors[model].values for model in (upgrade.source, upgrade.target))
    return JudgedQueries(old, new, found.judgements, found.missing, asked.count(judged))
