"""Proof by judged queries: what people ask, as either model embeds it, and the items that are known to answer it.

Where there are such queries, they judge in place of labels, which make a query of every item. The new queries search
the crossed gallery, the old ones the old gallery, and the difference is paired over queries. No item is judged as it is
crossed by what has learned from it (`models.proof.judged_scores`). Nothing is said of parts of the gallery: the queries
are taken for a sample of those that will be asked, whatever they ask for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from models.arrays import Floats, Progress
from models.evaluation.judged_metrics import JudgedMetric
from models.evaluation.retrieval_metrics import flips
from models.portable import Space, Transformation
from models.proof.advice import advise, recommend
from models.proof.crossing import Refittable
from models.proof.evidence_needed import Judges, error_of_cross, error_of_difference, evidence_needed
from models.proof.fused_scores import best_alpha
from models.proof.gate import AcceptanceGate, VerdictInputs, verdict
from models.proof.inputs import NothingToJudge, PlacedPairs, ProofGallery, ProofLimits
from models.proof.judged_among_pairs import AmongPairs, among_judged_pairs
from models.proof.judged_queries import FEWEST_QUERIES, JudgedQueries, judged_metric_of
from models.proof.judged_scores import ALPHAS, JudgedBench, JudgedRanksByRoute, RanksByAlpha, cross_val_ranks
from models.proof.losing_groups import LOSING
from models.proof.report import (
    AlphaPoint,
    Basis,
    EvidenceNeeded,
    FlipCount,
    FusedResult,
    JudgedBasis,
    LosingGroup,
    MetricResult,
    ProofReport,
    Quantity,
    quantity,
)
from models.proof.stratum_estimate import RESAMPLES, Draws, MeasuredUnits, estimate, flips_not_seen
from models.transformations.mixture import Mover

SHOWN = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "hit_rate@1", "map")
"""Metrics that a report has besides the gate's."""

FOLDS = 10
_ALPHA_FOLDS = 5
_UNJUDGED_IN = 10  # answers, where the gate's metric has no cut-off


def prove_by_queries(
    gallery: ProofGallery,
    learned_from: PlacedPairs,
    chosen: Refittable[Mover],
    queries: JudgedQueries,
    *,
    source: Space,
    target: Space,
    gate: AcceptanceGate | None = None,
    instant: Refittable[Transformation] | None = None,
    may_fuse: bool = True,
    limits: ProofLimits | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ProofReport:
    """Measures the crossing by judged queries, judges it by the gate, and says what to do.

    Arguments as of `models.proof.crossing.prove`; queries: judged on this gallery. A gate on a metric by label is read
    as one on the metric of judged queries that asks the same. Raises NothingToJudge where fewer than `FEWEST_QUERIES`
    can be answered or the pairs are all copies of one judged item, and ValueError where shapes do not fit.
    """
    limits = limits or ProofLimits.of(ProofLimits.gallery, linear=chosen.transformation.linear)
    gate = gate or AcceptanceGate()
    asked = queries.answerable()
    if len(asked) < FEWEST_QUERIES:
        raise NothingToJudge(
            f"{len(asked)} of {len(queries)} judged queries have a relevant item in this gallery; at least "
            f"{FEWEST_QUERIES} are needed"
        )
    gallery_rows, metric = len(gallery), judged_metric_of(gate.metric)
    notes = _notes(gate, metric)
    gate = replace(gate, metric=str(metric))
    asked, searched, learned_from = _limited(asked, gallery, learned_from, limits, seed, notes)
    bench = JudgedBench.of(asked, searched, learned_from, source, target, min(FOLDS, limits.row_folds), seed)
    if bench.holds_out_every_pair:
        raise NothingToJudge(
            f"all {len(bench.pairs)} pairs have one old vector, which judged queries ask for, so that nothing is left "
            "to learn from where it is held out"
        )
    if instant is not None and not instant.transformation.pushable:
        instant = None
    same = instant is not None and instant.transformation.card == _card(chosen.transformation)
    ranks = cross_val_ranks(
        bench,
        (chosen.transformation, chosen.refit),
        None if instant is None else (instant.transformation, instant.refit),
        same=same,
        progress=progress,
    )
    measured = _Measured(bench, ranks, metric, seed)
    return _report(
        measured,
        gate,
        None if instant is None else instant.transformation.push(asked.new[:1]).reason,
        may_fuse=may_fuse,
        notes=tuple(notes),
        queries=queries,
        gallery_rows=gallery_rows,
    )


def _notes(gate: AcceptanceGate, metric: JudgedMetric) -> list[str]:
    notes = [
        "Judged by the dataset's judged queries: new queries on the crossed gallery against old queries on the old one."
    ]
    if gate.metric != str(metric):
        notes.append(f"The gate's {gate.metric}, which is by label, was read as {metric} of the judged queries.")
    return notes


def _limited(
    queries: JudgedQueries,
    gallery: ProofGallery,
    learned_from: PlacedPairs,
    limits: ProofLimits,
    seed: int,
    notes: list[str],
) -> tuple[JudgedQueries, ProofGallery, PlacedPairs]:
    """Queries drawn at random, and the gallery's judged rows with others drawn at random, where there are too many."""
    rng = np.random.default_rng(seed)
    if len(queries) > limits.queries:
        notes.append(f"{limits.queries} of {len(queries)} judged queries, drawn at random, were asked.")
        queries = queries.take(np.sort(rng.permutation(len(queries))[: limits.queries]))
    if len(gallery) <= limits.gallery:
        return queries, gallery, learned_from
    judged = np.zeros(len(gallery), bool)
    judged[queries.judgements.row] = True
    others = rng.permutation(np.flatnonzero(~judged))[: max(0, limits.gallery - int(judged.sum()))]
    rows = np.sort(np.concatenate([np.flatnonzero(judged), others]))
    notes.append(
        f"{len(rows)} of {len(gallery)} gallery rows were searched: those that a query judges, and others drawn at"
        " random. Both searches are easier for it."
    )
    place = np.full(len(gallery) + 1, -1, np.int64)
    place[rows] = np.arange(len(rows))
    pairs = replace(learned_from, row=place[learned_from.row])
    return queries.searching(rows, len(gallery)), gallery.subset(rows), pairs


def _card(h: Mover) -> object:
    return h.card if isinstance(h, Transformation) else None


@dataclass(frozen=True)
class _Measured:
    """What was measured, and what it comes to in one metric or another."""

    bench: JudgedBench
    ranks: JudgedRanksByRoute
    metric: JudgedMetric
    seed: int

    @property
    def basis(self) -> str:
        return f"{len(self.bench.queries)} judged queries; {len(self.bench.gallery)} gallery rows"

    def draws(self, metric: JudgedMetric) -> Draws:
        """Old queries on the old gallery, and new ones on the crossed gallery."""
        crossed = self.ranks.crossed
        return self.compared(crossed.old.values(metric), crossed.new.values(metric))

    def compared(self, old: Floats, new: Floats) -> Draws:
        """Two searches by the same queries, (m,) values each."""
        return estimate(MeasuredUnits(old, new, np.ones(len(old))), None, seed=self.seed)

    def metrics(self) -> list[JudgedMetric]:
        """The gate's first, then those that are shown besides, of as many answers as there are rows."""
        shown = [JudgedMetric.parsed(name) for name in SHOWN]
        rows = len(self.bench.gallery)
        return list(dict.fromkeys([self.metric, *(one for one in shown if one.k <= max(rows // 2, 1))]))

    def chosen_alpha(self, ranks: RanksByAlpha) -> tuple[int, Floats, Floats]:
        """The place of the α that all queries choose, the mean at every α (a,), and every query's value (m,) by the α
        that the queries of other folds choose."""
        values = ranks.values(self.metric)
        fold = np.random.default_rng(self.seed).permutation(len(values)) % _ALPHA_FOLDS
        fair = np.empty(len(values))
        for k in range(_ALPHA_FOLDS):
            others = fold != k
            fair[~others] = values[~others, best_alpha(values[others], np.ones(int(others.sum())))]
        return best_alpha(values, np.ones(len(values))), values.mean(axis=0), fair

    def needed(self, figures: Draws, gate: AcceptanceGate) -> EvidenceNeeded:
        """How many more judged queries would decide."""
        read = gate.read(figures.predicted_cross(), figures.difference())
        error, lasting = error_of_cross(figures) if gate.require == "at_least" else error_of_difference(figures)
        queries = len(self.bench.queries)
        judges = Judges("judged queries", queries, queries, ProofLimits.queries)
        return evidence_needed(read.mean, gate.asked, error, lasting, judges)

    def fused(self) -> tuple[FusedResult, Draws]:
        """Both models' queries together, in the metric of the gate, and the draws of that figure."""
        crossed = self.ranks.crossed
        place, curve, fair = self.chosen_alpha(crossed)
        old, new = crossed.old.values(self.metric), crossed.new.values(self.metric)
        more = flips_not_seen(np.ones(len(old)), np.arange(len(old)), seed=self.seed + 3)
        together, over = (self.compared(before, fair) for before in (old, new))
        together, over = (replace(d, cross=d.cross + more, fresh_cross=d.fresh_cross + more) for d in (together, over))
        pushed_place, pushed_curve = place, [None] * len(ALPHAS)
        if self.ranks.pushed is not None:
            pushed_place, by_push, _ = self.chosen_alpha(self.ranks.pushed)
            pushed_curve = by_push.tolist()
        first = JudgedMetric("hit_rate", 1)
        first_fused = crossed.values(first)[:, place]
        result = FusedResult(
            metric=str(self.metric),
            quality=quantity(together.predicted_cross(), self.basis),
            difference=quantity(together.difference(), self.basis),
            over_crossing=quantity(over.difference(), self.basis),
            alpha=float(ALPHAS[place]),
            pushed_alpha=float(ALPHAS[pushed_place]),
            curve=tuple(map(AlphaPoint, ALPHAS.tolist(), curve.tolist(), pushed_curve)),
            flips=(_flips(crossed.old.values(first), first_fused),),
        )
        return result, together

    def instant(self) -> Draws | None:
        """New queries pushed into the old gallery."""
        pushed = self.ranks.pushed
        return None if pushed is None else self.compared(pushed.old.values(self.metric), pushed.new.values(self.metric))

    def among_pairs(self) -> AmongPairs | None:
        """What embedding the pairs anew gives on them alone."""
        return among_judged_pairs(self.bench, self.ranks.crossed_pairs, self.metric, self.seed)

    def losing_groups(self) -> tuple[LosingGroup, ...]:
        """Labels of the items that the queries want most, on which the crossing does worse than the old model."""
        label = self.bench.gallery.label
        if label is None:
            return ()
        wanted = label[self.bench.queries.judgements.best_row]
        known = np.array([each is not None for each in wanted], bool)
        old, new = (ranks.values(self.metric)[known] for ranks in (self.ranks.crossed.old, self.ranks.crossed.new))
        name, first, code = np.unique(wanted[known].astype(str), return_index=True, return_inverse=True)
        queries, won, lost = (np.bincount(code, each, len(name)) for each in (np.ones(len(code)), new > old, new < old))
        before, after = (np.bincount(code, each, len(name)) / queries for each in (old, new))
        losing = []
        for group in np.flatnonzero((lost > won) & (after < before)).tolist():
            fought = int(won[group] + lost[group])
            if binomtest(int(lost[group]), fought, alternative="greater").pvalue < LOSING:
                value = wanted[known][first[group]]
                figures = float(before[group]), float(after[group]), int(queries[group])
                losing.append(self._losing(str(name[group]), value, *figures))
        return tuple(sorted(losing, key=lambda group: (group.new - group.old, group.name)))

    def _losing(self, name: str, label: object, before: float, after: float, queries: int) -> LosingGroup:
        gallery, pairs = self.bench.gallery.label, self.bench.pairs.label
        rows = 0 if gallery is None else sum(value == label for value in gallery.tolist())
        learned = 0 if pairs is None else sum(value == label for value in pairs.tolist())
        return LosingGroup(name, learned > 0, rows, learned, before, after, f"{queries} judged queries of its items")

    def judged_basis(self, queries: JudgedQueries) -> JudgedBasis:
        """What the judgements are and how many there are."""
        k, bench, j = self.metric.k or _UNJUDGED_IN, self.bench, self.bench.queries.judgements
        return JudgedBasis(
            queries_held=max(queries.held, len(queries)),
            queries_with_both_vectors=max(queries.with_both_vectors, len(queries)),
            queries_counted=len(bench.queries),
            judgements=len(j.row),
            relevant=int(j.relevant.sum()),
            of_items_not_searched=bench.queries.not_searched,
            of_pairs=int((bench.judged_fold >= 0).sum()),
            unjudged_depth=k,
            unjudged_old=float(np.nanmean(self.ranks.crossed.old.unjudged(k))),
            unjudged_crossing=float(np.nanmean(self.ranks.crossed.new.unjudged(k))),
        )


def _report(
    measured: _Measured,
    gate: AcceptanceGate,
    push_reason: str | None,
    *,
    may_fuse: bool,
    notes: tuple[str, ...],
    queries: JudgedQueries,
    gallery_rows: int,
) -> ProofReport:
    figures = {metric: measured.draws(metric) for metric in measured.metrics()}
    whole, basis, bench = figures[measured.metric], measured.basis, measured.bench
    difference, instant, among = quantity(whole.difference(), basis), measured.instant(), measured.among_pairs()
    (fused, together), losing = measured.fused(), measured.losing_groups()
    inputs = VerdictInputs(
        gate=gate,
        old_old=quantity(whole.predicted_old(), basis),
        cross=quantity(whole.predicted_cross(), basis),
        difference=difference,
        covered=None,
        covered_passes=False,
        uncovered=None,
        uncovered_share=0.0,
        uncovered_rows=0,
        gallery_rows=gallery_rows,
        new_is_worse=among is not None and among.new_is_worse(difference),
        gain=None if among is None else among.result.gain,
        instant=None if instant is None else quantity(instant.predicted_cross(), basis),
        instant_passes=instant is not None and gate.passed(instant.predicted_cross(), instant.difference()),
        instant_note="no transformation that can be pushed into the query"
        if push_reason is None
        else f"new queries pushed into the old gallery at once, no vector rewritten; {push_reason}",
        backfill=None,
        re_embed=None if among is None else among.re_embedded(whole),
        judgeable=True,
        losing=losing,
        wanted=(),
        needed=measured.needed(whole, gate),
        fused_needed=measured.needed(together, gate),
        by_queries=True,
        fused=fused,
        may_fuse=may_fuse,
    )
    accepted, reason = verdict(inputs)
    first = JudgedMetric("hit_rate", 1)
    by_first = measured.ranks.crossed
    return ProofReport(
        accepted=accepted,
        reason=reason,
        gate=str(gate),
        metrics=tuple(_result(metric, d, basis) for metric, d in figures.items()),
        strata=(),
        flips=(_flips(by_first.old.values(first), by_first.new.values(first)),),
        backfilled=None if among is None else among.result,
        losing_groups=losing,
        wanted_pairs=(),
        recommendation=recommend(inputs, accepted),
        advice=advise(inputs, accepted),
        notes=notes,
        basis=Basis(
            judged_by="queries",
            coverage_by="queries",
            covered_share=1.0,
            gallery_rows=gallery_rows,
            gallery_rows_searched=len(bench.gallery),
            pairs=len(bench.pairs),
            queries=len(bench.queries),
            row_folds=bench.folds,
            cell_folds=0,
            dependence_range=0,
            resamples=RESAMPLES,
            seed=measured.seed,
        ),
        served_as="fused" if accepted and not inputs.crossing_passes else "crossing",
        fused=replace(fused, passes=inputs.fused_passes),
        judged=measured.judged_basis(queries),
    )


def _result(metric: JudgedMetric, d: Draws, basis: str) -> MetricResult:
    figures: list[Quantity] = [
        quantity(interval, basis) for interval in (d.predicted_old(), d.predicted_cross(), d.difference())
    ]
    return MetricResult(str(metric), *figures)


def _flips(old: Floats, new: Floats) -> FlipCount:
    """Of the answers at rank 1; (m,) each, 1 for a relevant one."""
    counts = flips(old, new)
    return FlipCount("judged queries", counts.negative, counts.positive, counts.total)
