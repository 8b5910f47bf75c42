"""Setting up a proof: labels or regions, the gallery to search, what each query must not find, and the folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Floats, Labels, Scores
from models.evaluation.retrieval_metrics import METRICS
from models.portable import Array, Space
from models.proof.bench import ProofBench, label_scores
from models.proof.coverage import Coverage, cover_by_density, cover_by_label
from models.proof.distance_to_pairs import Allowed, distance_to_pairs, features
from models.proof.inputs import NothingToJudge, PlacedPairs, ProofGallery, ProofLimits
from models.proof.judging_labels import (
    answerable,
    completed_labels,
    first_copies,
    judging_labels,
    why_labels_cannot_judge,
)
from models.proof.strata import GalleryKnown, Judged
from models.proof.writing_order import WritingOrder, dependence_range, writing_order

LABELLED_ENOUGH = 0.5
NEIGHBOURS_AMONG = 20_000
"""Gallery rows, drawn at random, among which neighbours are looked for where only their distance matters."""


@dataclass(frozen=True)
class ProofSetup:
    """Everything about a proof that is decided before anything is measured.

    bench: the pairs as queries and the gallery; evaluation: the same for the user's evaluation set. reach: within how
    many places in the order of writing items resemble each other. notes: sentences for the report.
    gallery_row: (N',) the gallery rows that are searched; place: (N + 1,) where among them each gallery row is, or the
    one that it is a copy of, -1 for a row that is not searched, and last; pair_row: (n,) each pair's gallery row, -1
    for none.
    row_fold: (n,) the fold of each pair where rows are held out; cell_fold: (n,) where whole cells are, all -1 where
    the pairs are of fewer than two cells: then nothing is known of cells without pairs.
    weight: (n,) gallery rows that each pair stands for.
    """

    bench: ProofBench
    evaluation: ProofBench | None
    coverage: Coverage
    order: WritingOrder
    reach: int
    gallery_row: Codes
    place: Codes
    pair_row: Codes
    row_fold: Codes
    cell_fold: Codes
    weight: NDArray[np.float64]
    notes: tuple[str, ...]

    def asking(self, kept: NDArray[np.bool_], note: str) -> ProofSetup:
        """The same with some of the judged pairs alone, where `kept`, (m,) bool; note: why, for the report."""
        bench = replace(self.bench, judged=self.bench.judged[kept])
        return replace(self, bench=bench, notes=(*self.notes, note))

    def runs(self, rows: Codes) -> Codes:
        """Which rows depend on each other: (m,) int64 cluster codes; rows: (m,) int64 gallery rows, -1 for none.

        A row of -1 is a cluster of its own. A row at the end of a run may have a sibling in the next, from which is
        learned while it is held out; its distance to the nearest pair shows that, and is corrected for.
        """
        return self.order.runs(rows, max(1, self.reach))

    def judged(self, old: Scores, cross: Scores, *, by_row: bool) -> Judged:
        """Scores (m, 4) of the bench's queries, with cells, weights and clusters; `by_row` where rows were held out."""
        rows = self.bench.judged
        cell = self.coverage.pair_cell[rows]
        distances = None
        if by_row:
            pairs, fold = self._features(self.bench.pairs.old, self.bench.pairs.side), self.row_fold

            def learned(mine: Codes, theirs: Codes) -> NDArray[np.bool_]:
                return np.not_equal.outer(fold[rows[mine]], fold[theirs])

            to_pairs = distance_to_pairs(
                pairs[rows], self._label(cell), pairs, self._label(self.coverage.pair_cell), learned
            )
            distances = np.column_stack([to_pairs, self._to_random_pairs(pairs[rows], cell, self._pair_item()[rows])])
        return Judged(cell, self.weight[rows], self.runs(self.pair_row[rows]), old, cross, distances)

    def evaluated(self, old: Scores, cross: Scores) -> Judged:
        """The evaluation set's queries with their scores (m, 4), all of one weight, each a cluster of its own."""
        if self.evaluation is None:
            raise ValueError("there is no evaluation set")
        cell = self.coverage.evaluation_cell[self.evaluation.judged]
        return Judged(cell, np.ones(len(cell)), np.arange(len(cell)), old, cross)

    def gallery_known(self, most: int, seed: int) -> GalleryKnown:
        """The old model's scores on up to `most` gallery rows, and their distances to the nearest pair, and to the
        nearest that pairs drawn at random would have been.

        For distances, items do not count that were written within `reach` of the row, nor the row's own.
        """
        rng = np.random.default_rng(seed)
        cells = self.coverage.gallery_cell[self.gallery_row]
        rows = np.sort(rng.permutation(np.flatnonzero(cells >= 0))[:most])
        stored = self.gallery_row[rows]
        gallery, codes = self.bench.gallery, self.bench.gallery_code
        scores: Scores = np.full((len(rows), len(METRICS)), np.nan)
        if self.bench.labelled:
            near = self.place[self.order.within(stored, self.reach)]
            known = answerable(codes[rows], near, codes)
            rows, stored, near = rows[known], stored[known], near[known]
            scores = label_scores(gallery.old[rows], codes[rows], gallery.old, codes, self.bench.source.metric, near)
        asked = self._features(gallery.old[rows], None if gallery.side is None else gallery.side[rows])
        to_pairs = distance_to_pairs(
            asked,
            self._label(cells[rows]),
            self._features(self.bench.pairs.old, self.bench.pairs.side),
            self._label(self.coverage.pair_cell),
            self._apart(stored, self._pair_item()),
        )
        distances = np.column_stack([to_pairs, self._to_random_pairs(asked, cells[rows], stored)])
        return GalleryKnown(cells[rows], self.runs(stored), scores, distances)

    def _pair_item(self) -> Codes:
        """Each pair's gallery row, or that of the item which it is a copy of: (n,) int64, -1 for none."""
        searched = self.place[self.pair_row]
        return np.where(searched >= 0, self.gallery_row[searched], self.pair_row)

    def _to_random_pairs(self, rows: Array, cell: Codes, stored: Codes) -> Floats:
        """How far each row would be from the nearest pair, were as many pairs drawn at random: (m,) float64.

        Where there are k gallery items to a pair, that is the distance to the k-th nearest of them. rows: (m, d)
        features; cell: (m,); stored: (m,) gallery rows, -1 for none.
        """
        gallery, searched = self.bench.gallery, self.gallery_row
        some = np.arange(len(gallery))
        if len(gallery) > NEIGHBOURS_AMONG:
            some = np.sort(np.random.default_rng(0).permutation(len(gallery))[:NEIGHBOURS_AMONG])
        return distance_to_pairs(
            rows,
            self._label(cell),
            self._features(gallery.old[some], None if gallery.side is None else gallery.side[some]),
            self._label(self.coverage.gallery_cell[searched[some]]),
            self._apart(stored, searched[some]),
            nearest=max(1, round(len(some) / len(self.bench.pairs))),
        )

    def _apart(self, mine: Codes, theirs: Codes) -> Allowed:
        """Whether gallery rows, -1 for none, were not written within `reach` of each other, nor are the same."""
        place = np.append(self.order.place, -1)  # of -1, which is no row
        my_place = np.where(place[mine] >= 0, place[mine], -1 - self.reach)
        their_place = np.where(place[theirs] >= 0, place[theirs], -2 - 2 * self.reach)

        def apart(rows: Codes, others: Codes) -> NDArray[np.bool_]:
            between: NDArray[np.int64] = np.subtract.outer(my_place[rows], their_place[others])
            return np.abs(between) > self.reach

        return apart

    def _features(self, old: Array, side: Array | None) -> Array:
        pairs = self.bench.pairs
        side = None if self.bench.gallery.side is None else side
        return features(old, side, self.bench.source.metric, (pairs.old, pairs.side))

    def _label(self, cell: Codes) -> Codes:
        """Cells that nearness stays within: labels, but not regions, whose borders mean nothing."""
        return cell if self.coverage.by == "label" else np.zeros_like(cell)


def prepare(
    gallery: ProofGallery,
    learned_from: PlacedPairs,
    evaluation: PlacedPairs | None,
    source: Space,
    target: Space,
    limits: ProofLimits,
    seed: int,
    learned_labels: Labels | None = None,
) -> ProofSetup:
    """Everything that can be decided before anything is measured; raises NothingToJudge where there is too little.

    learned_labels: what was learned from, where that is not the pairs themselves; it decides what is covered.
    """
    rng = np.random.default_rng(seed)
    notes: list[str] = []
    if evaluation is not None:
        evaluation = _unlearned(evaluation, learned_from, notes)
    pairs, pair_row = learned_from.pairs, learned_from.row
    labels, pair_labels, query_labels = completed_labels(gallery, learned_from, evaluation, notes)
    everyone, outside = np.concatenate([pair_labels, query_labels]), pair_row
    if evaluation is not None:
        outside = np.concatenate([pair_row, evaluation.row])
    given, labels = labels, judging_labels(labels, everyone, outside)
    share = float(np.mean([label is not None for label in labels.tolist()]))
    why_not = why_labels_cannot_judge(given)
    original = first_copies(gallery.old, labels)
    searched = np.flatnonzero(original == np.arange(len(gallery)))
    if copies := len(gallery) - len(searched):
        notes.append(
            f"{copies} of {len(gallery)} gallery rows have the very vector and label of another. Each is searched once:"
            " a query that is such an item would find its own copy by any model."
        )
    distinct = len(searched)
    if distinct > limits.gallery:
        searched = np.sort(searched[rng.permutation(distinct)[: limits.gallery]])
    place = np.full(len(gallery) + 1, -1, np.int64)
    place[searched] = np.arange(len(searched))
    place[:-1] = place[original]
    by_label = None
    tried = share >= LABELLED_ENOUGH and any(label is not None for label in pair_labels.tolist())
    if tried:
        by_label = _by_label(
            gallery.old,
            cover_by_label(labels, pair_labels, query_labels, learned_labels),
            pair_row,
            searched,
            place,
            seed,
        )
    labelled = by_label is not None
    if by_label is not None:
        coverage, order, reach = by_label
        if share < 1:
            which = "has no label" if why_not is None else f"has no label that can judge ({why_not})"
            notes.append(f"{1 - share:.0%} of the gallery {which}; it is taken to be like the rest.")
    else:
        no_rows = np.empty((0, source.dimension), np.float32)
        queries = no_rows if evaluation is None else evaluation.pairs.old
        coverage = cover_by_density(gallery.old, pairs.old, queries, source.metric, seed=seed)
        order, reach = writing_order(coverage.gallery_cell), 0
        why = f"{share:.0%} of the gallery is labelled, too little to say which answers are right"
        if why_not is not None or tried:
            why = f"Labels cannot say which answers are right: {why_not or 'too few pairs have one that others share'}"
        notes.append(
            f"{why}: judged by neighbours alone, by how many of those that full re-embedding would find are found."
            " Whether the new model is itself better than the old cannot be known from that."
        )
    if learned_from.weight is not None and np.isnan(learned_from.weight).any():
        notes.append(_mixture(learned_from.weight, coverage.by))
    if reach:
        notes.append(
            f"Items written within {reach} places of each other resemble each other more than their label explains; a"
            " query from outside has no such siblings, so they were not searched, and were held out together."
        )
    if len(searched) < distinct:
        notes.append(f"{limits.gallery} of {len(gallery)} gallery rows, drawn at random, were searched.")
    part = gallery if len(searched) == len(gallery) else gallery.subset(searched)
    code = coverage.gallery_cell[searched] if labelled else np.full(len(searched), -1)

    def bench(e: PlacedPairs, cells: Codes, limit: int) -> ProofBench:
        near = place[order.within(e.row, reach)]
        usable = np.flatnonzero(
            (answerable(cells, near, code) if labelled else cells >= 0) & _first_of_each(place[e.row])
        )
        judged = np.sort(rng.permutation(usable)[:limit])
        if len(judged) < len(usable):
            notes.append(f"{len(judged)} of {len(usable)} pairs, drawn at random, were queries.")
        codes = cells if labelled else np.full(len(cells), -1)
        return ProofBench(part, e.pairs, code, codes, near, judged, source, target, labelled, e.has_side)

    main = bench(learned_from, coverage.pair_cell, limits.queries)
    if len(main.judged) < 2:
        raise NothingToJudge(
            f"{len(main.judged)} of {len(pairs)} pairs can be judged; a proof needs at least two, of labels that the "
            "gallery holds where it is labelled"
        )
    # Copies of one item are held out together: from none of them is learned what another is judged by.
    first = np.where(pair_row >= 0, original[pair_row], -1)
    runs = order.runs(first, max(1, reach))
    held = (first >= 0) & np.isin(first, first[main.judged])
    held[main.judged] = True
    return ProofSetup(
        bench=main,
        evaluation=None if evaluation is None else bench(evaluation, coverage.evaluation_cell, limits.queries),
        coverage=coverage,
        order=order,
        reach=reach,
        gallery_row=searched,
        place=place,
        pair_row=pair_row,
        row_fold=np.where(held, _folds(runs, limits.row_folds, rng), -1),
        cell_fold=_folds(coverage.pair_cell, limits.cell_folds, rng),
        weight=coverage.pair_weights(learned_from.weight),
        notes=tuple(notes),
    )


def _by_label(
    gallery: Array, coverage: Coverage, pair_row: Codes, searched: Codes, place: Codes, seed: int
) -> tuple[Coverage, WritingOrder, int] | None:
    """The order of writing and how far it reaches, with labels as cells; None where fewer than two pairs share their
    label with a gallery row that is searched and that they may find, though more have one."""
    order = writing_order(coverage.gallery_cell)
    reach = dependence_range(gallery, order, seed=seed)
    near = place[order.within(pair_row, reach)]
    judging = answerable(coverage.pair_cell, near, coverage.gallery_cell[searched]).sum()
    return None if judging < 2 <= (coverage.pair_cell >= 0).sum() else (coverage, order, reach)


def _mixture(weight: NDArray[np.float64], cells: Literal["label", "density"]) -> str:
    """How pairs are weighted of which only some were chosen as a sample; weight: (n,), NaN for the others."""
    chosen, group = int((~np.isnan(weight)).sum()), "label" if cells == "label" else "region"
    return (
        f"{chosen} of {len(weight)} pairs are of a sample that was chosen to stand for the gallery; the others are"
        f" taken to be drawn at random within their {group}. Each {group}'s items are shared out among its pairs: a"
        " pair of either kind stands for as many on the average, and those of the sample for more or fewer by the"
        " shares that the sample gives them."
    )


def _unlearned(evaluation: PlacedPairs, learned_from: PlacedPairs, notes: list[str]) -> PlacedPairs | None:
    """The evaluation set without the rows that were learned from; None where nothing is left."""
    fresh = np.flatnonzero((evaluation.row < 0) | ~np.isin(evaluation.row, learned_from.row))
    if len(fresh) < len(evaluation.row):
        dropped = len(evaluation.row) - len(fresh)
        notes.append(f"{dropped} rows of the evaluation set were learned from as well, and were left out of it.")
    if len(fresh) < 2:
        return None
    has = None if evaluation.has_side is None else evaluation.has_side[fresh]
    return PlacedPairs(evaluation.pairs.subset(fresh), evaluation.row[fresh], has_side=has)


def _first_of_each(places: Codes) -> NDArray[np.bool_]:
    """Which pairs (n,) are the first of their place (n,), as is every pair of none, -1."""
    which = np.zeros(len(places), bool)
    which[np.unique(places, return_index=True)[1]] = True
    return which | (places < 0)


def _folds(units: Codes, most: int, rng: np.random.Generator) -> Codes:
    """Folds of whole units, equally many in each: (n,) int64; -1 for unit -1, and for all where there is one unit."""
    names, code = np.unique(units, return_inverse=True)
    real = names >= 0
    if real.sum() < 2:
        return np.full(len(units), -1)
    fold = np.full(len(names), -1)
    fold[real] = rng.permutation(real.sum()) % min(most, int(real.sum()))
    return fold[code]
