"""From measurements to the report: intervals for the whole gallery, groups that lose, re-embedding, verdict, advice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Interval, bootstrap_mean, group_sums, percentile_interval, resampled_sums
from models.evaluation.retrieval_metrics import flips
from models.proof.advice import Findings, Gate, advise, verdict
from models.proof.held_out_scores import BY_LABEL, METRICS, HeldOut, MetricName, among_pairs
from models.proof.report import (
    Backfilled,
    Basis,
    FlipCount,
    Group,
    MetricResult,
    ProofReport,
    Quantity,
    Stratum,
    Wanted,
)
from models.proof.setup import Trial
from models.proof.strata import Part
from models.proof.stratum_estimate import RESAMPLES, Draws, combine

LOSING = 0.01  # one-sided level of the sign test by which a covered group is said to lose

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """The strata under the crossing and under its instant form, and the pairs as held-out rows saw them.

    trained: the crossing is a model trained to be compatible, not a transformation.
    """

    parts: tuple[Part, ...]
    instant: tuple[Part, ...] | None
    instant_note: str
    rows: HeldOut
    row_folds: int
    cell_folds: int
    trained: bool = False


def write_report(trial: Trial, measured: Measured, gate: Gate, seed: int) -> ProofReport:
    """The whole report. A gate by label on a gallery without labels is read as one of recall@10, and a note says so."""
    coverage, notes = trial.coverage, list(trial.notes)
    if gate.metric in BY_LABEL and not trial.bench.labelled:
        notes.append(f"The gate asks for {gate.metric}, which needs labels; recall@10 was judged in its place.")
        gate = Gate("recall@10", gate.require, gate.level)
    parts = measured.parts
    judgeable = math.isclose(sum(part.share for part in parts), 1.0, abs_tol=1e-9)
    figures = {metric: _overall(trial, parts, metric, seed) for metric in _metrics(trial)}
    whole = figures[gate.metric]
    basis = _basis_of(trial, parts)
    self_test, cross = _quantity(whole.predicted_old(), basis), _quantity(whole.predicted_cross(), basis)
    difference = _quantity(whole.difference(), basis)
    draws = {part.name: part.draws(gate.metric, coverage.size, seed + 10 * i) for i, part in enumerate(parts)}
    summaries = tuple(_stratum(trial, part, draws[part.name]) for part in parts)
    seen, unseen = draws.get("covered"), draws.get("not covered")
    backfilled, left = _backfilled(trial, measured.rows, gate.metric, seed)
    re_embed = _without_errors(seen, left)
    unseen_share = 1 - coverage.share
    losing = _losing(trial, parts, gate.metric, seed)
    instant = None if measured.instant is None else _overall(trial, measured.instant, gate.metric, seed)
    findings = Findings(
        gate=gate,
        old_old=self_test,
        cross=cross,
        difference=difference,
        covered=None if seen is None else _quantity(seen.predicted_cross(), "covered part"),
        covered_passes=seen is not None and gate.passed(seen.predicted_cross(), seen.difference()),
        uncovered=None if unseen is None else _quantity(unseen.predicted_cross(), "not covered part"),
        uncovered_share=unseen_share,
        uncovered_rows=int(coverage.size[~coverage.covered].sum()),
        gallery_rows=len(coverage.gallery_cell),
        new_is_worse=_new_is_worse(backfilled, difference),
        gain=None if backfilled is None else backfilled.gain,
        instant=None if instant is None else _quantity(instant.predicted_cross(), basis),
        instant_passes=instant is not None and gate.passed(instant.predicted_cross(), instant.difference()),
        instant_note=measured.instant_note,
        backfill=_mixed(seen, re_embed, coverage.share),
        re_embed=re_embed,
        judgeable=judgeable,
        losing=losing,
        wanted=_wanted(trial),
        trained=measured.trained,
    )
    accepted, reason = verdict(findings)
    return ProofReport(
        accepted=accepted,
        reason=reason,
        gate=str(gate),
        metrics=tuple(_result(metric, d, basis) for metric, d in figures.items()),
        strata=summaries,
        flips=tuple(_flips(part) for part in parts) if trial.bench.labelled else (),
        backfilled=backfilled,
        losing_groups=losing,
        wanted_pairs=findings.wanted,
        advice=advise(findings, accepted),
        notes=tuple(notes),
        basis=Basis(
            judged_by="label" if trial.bench.labelled else "neighbours",
            coverage_by=coverage.by,
            covered_share=coverage.share,
            gallery_rows=len(coverage.gallery_cell),
            gallery_rows_searched=len(trial.gallery_row),
            pairs=len(trial.bench.pairs),
            queries=len(trial.bench.judged),
            row_folds=measured.row_folds,
            cell_folds=measured.cell_folds,
            dependence_range=trial.reach,
            resamples=RESAMPLES,
            seed=seed,
        ),
    )


def _metrics(trial: Trial) -> tuple[MetricName, ...]:
    return METRICS if trial.bench.labelled else ("recall@10",)


def _overall(trial: Trial, parts: Sequence[Part], metric: MetricName, seed: int) -> Draws:
    """The strata together; where one could not be judged, the others stand for what they are (and the gate rejects)."""
    total = sum(part.share for part in parts)
    return combine(
        [(part.share / total, part.draws(metric, trial.coverage.size, seed + 10 * i)) for i, part in enumerate(parts)]
    )


def _basis_of(trial: Trial, parts: Sequence[Part]) -> str:
    judged = "; ".join(
        f"{part.name} {part.share:.0%}: {len(part.judged.cell)} queries, {part.judged_on}" for part in parts
    )
    return f"{judged}; {len(trial.gallery_row)} gallery rows, own entry excluded"


def _result(metric: MetricName, d: Draws, basis: str) -> MetricResult:
    if metric == "recall@10":
        basis = "nearest 10 among the pairs, as full re-embedding would find them; " + basis
    return MetricResult(
        metric,
        _quantity(d.predicted_old(), basis),
        _quantity(d.predicted_cross(), basis),
        _quantity(d.difference(), basis),
    )


def _stratum(trial: Trial, part: Part, d: Draws) -> Stratum:
    basis = f"{len(part.judged.cell)} queries, {part.judged_on}"
    return Stratum(
        name=part.name,
        share=part.share,
        gallery_rows=int(trial.coverage.size[part.cells].sum()),
        cells=int(part.cells.sum()),
        queries=len(part.judged.cell),
        judged_on=part.judged_on,
        old_old=_quantity(d.predicted_old(), basis),
        cross=_quantity(d.predicted_cross(), basis),
    )


def _flips(part: Part) -> FlipCount:
    counts = flips(part.judged.old[:, 0], part.judged.cross[:, 0])
    return FlipCount(part.name, counts.negative, counts.positive, counts.total)


def _backfilled(
    trial: Trial, rows: HeldOut, metric: MetricName, seed: int
) -> tuple[Backfilled | None, tuple[float, Floats] | None]:
    """M(new, new) where it can be known, and the share of the crossing's errors that it leaves there: (mean, draws)."""
    if metric not in BY_LABEL:
        return None, None
    bench, column = trial.bench, METRICS.index(metric)
    new, old = bench.pairs.new[bench.judged], bench.pairs.old[bench.judged]
    target = bench.target.metric
    by_old = among_pairs(bench, old, bench.source.metric, old)[:, column]
    by_cross = among_pairs(bench, rows.vectors, target, new)[:, column]
    by_new = among_pairs(bench, new, target, new)[:, column]
    weight, runs = trial.weight[bench.judged], trial.runs(trial.pair_row[bench.judged])
    basis = f"{len(new)} pairs as queries and gallery"

    def ratio(top: Floats, bottom: Floats) -> tuple[float, Floats]:
        parts = group_sums(np.column_stack([weight * top, weight * bottom]), runs)
        drawn = np.vstack([parts.sum(0), resampled_sums(parts, seed=seed, resamples=RESAMPLES)])
        ratios = np.ones(len(drawn))  # where there is nothing to divide by, nothing changes
        np.divide(drawn[:, 0], drawn[:, 1], out=ratios, where=drawn[:, 1] > 0)
        return float(ratios[0]), ratios[1:]

    def quantity(values: Floats) -> Quantity:
        return _quantity(percentile_interval(*ratio(values, np.ones_like(values))), basis)

    self_test, new_new = quantity(by_old), quantity(by_new)
    gain = new_new.mean / self_test.mean if self_test.mean > 0 else None
    return (
        Backfilled(metric, self_test, quantity(by_cross), new_new, quantity(by_new - by_old), gain),
        ratio(1 - by_new, 1 - by_cross),
    )


def _new_is_worse(backfilled: Backfilled | None, difference: Quantity) -> bool:
    """Whether the new model is worse than the old, or shows no gain where the crossing does not either.

    Where the pairs alone are so easy that the old model makes no mistake, they cannot tell.
    """
    if backfilled is None:
        return False
    gain, perfect = backfilled.gain, backfilled.old_old.mean >= 1
    return gain.high < 0 or (gain.mean <= 0 and difference.low <= 0 and not perfect)


def _losing(trial: Trial, parts: Sequence[Part], metric: MetricName, seed: int) -> tuple[Group, ...]:
    """Groups that lose: by a sign test where they have queries; where not, if groups held out whole stay below them."""
    coverage, column = trial.coverage, METRICS.index(metric)
    pairs = np.bincount(coverage.pair_cell[coverage.pair_cell >= 0], minlength=len(coverage.names))
    found: list[Group] = []
    for part in parts:
        j, known = part.judged, part.known
        if part.by_cell:
            expected = bootstrap_mean(j.cross[:, column], groups=j.cell, weights=j.weight, seed=seed)
            unseen = float(np.average(j.old[:, column], weights=j.weight))
            for cell in np.flatnonzero(part.cells).tolist():
                mine = np.zeros(0, bool) if known is None else known.cell == cell
                before = (
                    unseen
                    if known is None or not mine.any() or not trial.bench.labelled
                    else float(known.scores[mine, column].mean())
                )
                if before > expected.high:
                    by = f"predicted: {part.judged_on}"
                    found.append(_group(trial, cell, pairs, before, expected.mean, by))
            continue
        for cell in np.unique(j.cell).tolist():
            mine = j.cell == cell
            old, cross = j.old[mine, column], j.cross[mine, column]
            if _sign_test(int((cross < old).sum()), int((cross > old).sum())) < LOSING:
                weight = j.weight[mine]
                before, after = (float(np.average(v, weights=weight)) for v in (old, cross))
                if after < before:
                    found.append(_group(trial, cell, pairs, before, after, f"{mine.sum()} queries: {part.judged_on}"))
    return tuple(sorted(found, key=lambda g: (g.new - g.old, g.name)))


def _group(trial: Trial, cell: int, pairs: NDArray[np.int64], old: float, new: float, known_by: str) -> Group:
    c = trial.coverage
    return Group(c.names[cell], bool(c.covered[cell]), int(c.size[cell]), int(pairs[cell]), old, new, known_by)


def _sign_test(against: int, favourable: int) -> float:
    """P(at least `against` of all flips | a coin), exactly."""
    n = against + favourable
    return float(sum(math.comb(n, k) for k in range(against, n + 1)) / (1 << n))


def _wanted(trial: Trial) -> tuple[Wanted, ...]:
    """For every group without (enough) pairs, as many as the median covered group has."""
    c = trial.coverage
    pairs = np.bincount(c.pair_cell[c.pair_cell >= 0], minlength=len(c.names))
    usual = max(1, round(float(np.median(pairs[c.covered])))) if c.covered.any() else 1
    cells = np.flatnonzero(~c.covered & (c.size > 0))
    cells = cells[np.argsort(-c.size[cells], kind="stable")]
    return tuple(Wanted(c.names[i], int(c.size[i]), min(usual, int(c.size[i]))) for i in cells)


def _without_errors(seen: Draws | None, left: tuple[float, Floats] | None) -> Quantity | None:
    """Full re-embedding of the gallery: the covered part's errors, in the proportion that it leaves on the pairs.

    The pairs alone are a sparser and harder gallery, so their figures cannot be taken over as they are.
    """
    if seen is None or left is None:
        return None
    mean, draws = left
    interval = percentile_interval(1 - mean * (1 - seen.cross_mean), 1 - draws * (1 - seen.fresh_cross))
    return _clipped(interval, "predicted: errors of the covered part, in the proportion left by re-embedding the pairs")


def _mixed(seen: Draws | None, re_embed: Quantity | None, share: float) -> Quantity | None:
    """The covered part transformed, the rest re-embedded; both parts rest on the same pairs, so their ends add up."""
    if seen is None or re_embed is None:
        return None
    covered = seen.predicted_cross()
    mean, low, high = (
        share * a + (1 - share) * b
        for a, b in zip(
            (covered.mean, covered.low, covered.high), (re_embed.mean, re_embed.low, re_embed.high), strict=True
        )
    )
    return Quantity(mean, low, high, "predicted: groups with pairs transformed, groups without re-embedded")


def _quantity(interval: Interval, basis: str) -> Quantity:
    return Quantity(interval.mean, interval.low, interval.high, basis)


def _clipped(interval: Interval, basis: str) -> Quantity:
    mean, low, high = (min(max(v, 0.0), 1.0) for v in (interval.mean, interval.low, interval.high))
    return Quantity(mean, low, high, basis)
