"""Reads the judged queries that an upgrade is proved by, those that both its models embed, and what they search."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from app.composition import Crosswalk
from app.datasets.store import RELEVANT
from app.evaluations.holdings import of_queries
from app.galleries.info import GalleryInfo
from app.upgrades.info import UpgradeInfo
from models.proof.gate import AcceptanceGate
from models.proof.inputs import ProofLimits
from models.proof.judged_queries import FEWEST_QUERIES, JudgedQueries
from workers.context import StepFailed
from workers.rows.evaluation_rows import Evaluated, read
from workers.rows.items import Items, all_fit, known_ids, rows_that_fit, whole_gallery
from workers.rows.judgements import GradeByItem, grades_of, judged_rows
from workers.rows.query_pairs import LoggedQueries


@dataclass(frozen=True)
class JudgedGallery:
    """What a crossing is judged on and by: items of the gallery, and queries, None where there are not enough; notes:
    for the report.

    items: all, or where those do not fit in memory, what is relevant to the queries and a uniform random sample of the
    others; without queries, of all.
    """

    items: Items
    queries: JudgedQueries | None
    notes: tuple[str, ...] = ()


def judged_gallery(
    crosswalk: Crosswalk,
    upgrade: UpgradeInfo,
    info: GalleryInfo,
    gate: AcceptanceGate,
    seed: int,
    logged: LoggedQueries | None = None,
) -> JudgedGallery:
    """The gallery's items with the judged queries of the upgrade's evaluation set, or else of its dataset: the first
    that has enough.

    logged: queries that the crossing learned from before anybody judged them; those do not judge it.

    Raises StepFailed for an empty gallery, and where there are too few queries and the gate asks for a figure that
    nothing else can tell.
    """
    whole = whole_gallery(crosswalk, info, seed) if all_fit(crosswalk, info) else None
    few: list[str] = []
    for dataset in reversed(upgrade.asked.datasets):
        asked = _read(crosswalk, upgrade, dataset, seed, logged)
        if asked is None:
            continue
        items = whole
        if items is None:
            asked, relevant = _fitting(crosswalk, info, asked, seed)
            items = whole_gallery(crosswalk, info, seed, relevant)
        queries = asked.searching(items, upgrade)
        if queries.enough:
            return JudgedGallery(items, queries, (*few, *asked.notes))
        few.append(
            f"Dataset {dataset!r} has {asked.rows.held} judged queries with vectors of both {upgrade.source!r} and "
            f"{upgrade.target!r}, of which {int(queries.judgements.answerable.sum())} have a relevant item in this "
            f"gallery; {FEWEST_QUERIES} are needed to judge by them."
        )
        few.extend(asked.notes)
    if gate.of_judged_queries:
        datasets = " or ".join(f"/datasets/{dataset}/queries" for dataset in reversed(upgrade.asked.datasets))
        why = " ".join(few) or f"None of {datasets} has vectors of both {upgrade.source!r} and {upgrade.target!r}."
        raise StepFailed(f"The gate's {gate.metric} is of judged queries, and they are too few. {why} PUT {datasets}.")
    return JudgedGallery(whole_gallery(crosswalk, info, seed) if whole is None else whole, None, tuple(few))


@dataclass(frozen=True)
class _Asked:
    """Judged queries of a dataset that have vectors of both an upgrade's models, drawn at random where there are more.

    rows: the queries, with vectors of both; grades: of each, in that order; judged: how many the dataset judges, with
    vectors or without; why: why some were left out, as the end of a sentence; learned: how many were left out as the
    crossing has learned from them.
    """

    rows: Evaluated
    grades: list[GradeByItem]
    judged: int
    why: str = ""
    learned: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        asked, held = len(self.rows), self.rows.held
        learned: tuple[str, ...] = ()
        if self.learned:
            learned = (f"{self.learned} judged queries are left out: the crossing learned from them as a log.",)
        if asked == held:
            return learned
        drawn = f"{asked} of {held} judged queries with vectors of both models, drawn at random, were asked"
        return (f"{drawn}{self.why}.", *learned)

    def searching(self, items: Items, upgrade: UpgradeInfo) -> JudgedQueries:
        """The queries as judged on these items."""
        found = judged_rows(self.grades, items.id.tolist())
        old, new = (self.rows.vectors[model].values for model in (upgrade.source, upgrade.target))
        return JudgedQueries(
            old, new, found.judgements, found.missing, held=self.judged, with_both_vectors=self.rows.held
        )


def _read(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, dataset: str, seed: int, logged: LoggedQueries | None
) -> _Asked | None:
    """The judged queries of a dataset that have vectors of both models and are not `logged`; None where there is
    none."""
    asked = of_queries(crosswalk.datasets, dataset)
    if asked is None:
        return None
    judged = asked.given(RELEVANT)
    rows = read(crosswalk, asked, [upgrade.source, upgrade.target], where=[judged], most=ProofLimits.queries, seed=seed)
    learned = 0
    if logged is not None:
        known = logged.among(rows, upgrade.target)
        learned = int(known.sum())
        rows = replace(rows.take(np.flatnonzero(~known)), held=rows.held - learned)
    if not len(rows):
        return None
    return _Asked(rows, grades_of(asked.rows, rows.id.tolist()), asked.count(judged), learned=learned)


def _fitting(crosswalk: Crosswalk, info: GalleryInfo, asked: _Asked, seed: int) -> tuple[_Asked, set[str]]:
    """As many of the queries, in a random order, as have relevant items in the gallery that fill half of the memory for
    it at most, and the ids of those items. The other half is left for items drawn from all."""
    most = rows_that_fit(crosswalk, info) // 2
    there = known_ids(crosswalk, info, sorted({item for grades in asked.grades for item in _relevant(grades)}))
    order = np.random.default_rng(seed).permutation(len(asked.rows))
    fitting: set[str] = set()
    for count, query in enumerate(order.tolist()):
        more = (there & _relevant(asked.grades[query])) - fitting
        if len(fitting) + len(more) > most:
            return _some(asked, np.sort(order[:count]).tolist()), fitting
        fitting |= more
    return asked, fitting


def _some(asked: _Asked, places: Collection[int]) -> _Asked:
    rows = asked.rows.take(np.array(places, np.int64))
    why = ": what is relevant to more does not fit into half of CROSSWALK_EVALUATION_MEMORY_BYTES"
    return replace(asked, rows=rows, grades=[asked.grades[place] for place in places], why=why)


def _relevant(grades: GradeByItem) -> set[str]:
    return {item for item, grade in grades.items() if grade > 0}
