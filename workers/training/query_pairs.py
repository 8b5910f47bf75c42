"""Has what is pushed into queries learn from a log of queries besides, where that helps."""

from __future__ import annotations

from dataclasses import replace

from app.composition import Crosswalk
from app.upgrades.info import UpgradeInfo
from models.transformations.pairs import Pairs, Refit
from models.transformations.query_pairs import QueryPairsResult, items_and_queries, try_query_pairs
from models.transformations.selection import Selection
from workers.rows.pairs import DatasetPairs
from workers.rows.query_pairs import LoggedQueries, unjudged_queries


def learn_from_queries(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, selection: Selection, known: DatasetPairs, seed: int
) -> tuple[Selection, QueryPairsResult | None, LoggedQueries | None]:
    """The selection, with its `instant` learned from the dataset's unjudged queries as well where that helps, what was
    measured, and those queries; None where it was not tried, and where nothing learned from them.

    It is not where what was chosen is itself pushed exactly, and so serves by both routes, nor where it reads
    side-information, since `instant` then transforms the items that have none.
    """
    chosen = selection.chosen
    if chosen.card.side_dimension is not None or (chosen.pushable and chosen.push(known.pairs.new[:1]).exact):
        return selection, None, None
    queries = unjudged_queries(crosswalk, upgrade)
    tried = None if queries is None else try_query_pairs(known.pairs, queries.pairs, selection.refit_instant, seed=seed)
    if queries is None or tried is None or not tried.helps:
        return selection, tried, None
    refit = refit_beside(selection.refit_instant, queries.pairs)
    return replace(selection, instant=refit(known.pairs), refit_instant=refit), tried, queries


def refit_beside(refit: Refit, queries: Pairs) -> Refit:
    """Learns as `refit` does, from these queries besides the pairs that it is given."""
    return lambda pairs: refit(items_and_queries(pairs, queries))
