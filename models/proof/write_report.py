"""Works a proof's report out of its measurements: intervals for the whole gallery, losing groups, verdict, advice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.evaluation.bootstrap import percentile_interval
from models.evaluation.retrieval_metrics import BY_LABEL, METRICS, RetrievalMetric, flips
from models.proof.advice import advise, recommend
from models.proof.evidence_needed import Judges, error_of_cross, error_of_difference, evidence_needed
from models.proof.expected_gain import expected_gain
from models.proof.full_re_embedding import full_re_embedding, mixed, new_is_worse, without_errors
from models.proof.fused_proof import ChosenAlpha
from models.proof.fused_scores import alphas_for
from models.proof.gate import AcceptanceGate, VerdictInputs, verdict
from models.proof.held_out_scores import HeldOutScores
from models.proof.inputs import ProofLimits
from models.proof.losing_groups import losing_groups, wanted_pairs
from models.proof.report import (
    AlphaPoint,
    Basis,
    EvidenceNeeded,
    FlipCount,
    FusedResult,
    MetricResult,
    ProofReport,
    Stratum,
    quantity,
)
from models.proof.setup import ProofSetup
from models.proof.strata import Part
from models.proof.stratum_estimate import RESAMPLES, Draws, combine


@dataclass(frozen=True)
class FusedMeasurements:
    """What was measured of a search by both models' queries: the gallery's strata, judged with it, the weight chosen
    where candidates are scored in full, and that of queries pushed into the old index; None where nothing is pushed."""

    parts: tuple[Part, ...]
    exact: ChosenAlpha
    pushed: ChosenAlpha | None


@dataclass(frozen=True)
class ProofMeasurements:
    """Everything that was measured of one crossing.

    parts: the gallery's strata, judged with the crossing's transformation; instant: the same with the transformation
    pushed into the query, None where none can be; rows: the pairs' scores with rows held out; row_folds, cell_folds:
    how many folds were measured, of rows and of whole cells. trained: the crossing is a model trained to be compatible,
    and not a transformation. fused: what both models' queries together find, None where that was not measured.
    """

    parts: tuple[Part, ...]
    instant: tuple[Part, ...] | None
    instant_note: str
    rows: HeldOutScores
    row_folds: int
    cell_folds: int
    trained: bool = False
    fused: FusedMeasurements | None = None


def write_report(
    setup: ProofSetup, measured: ProofMeasurements, gate: AcceptanceGate, seed: int, *, may_fuse: bool = True
) -> ProofReport:
    """The whole report, with the gate's verdict.

    A gate on a metric that needs labels cannot be told where the gallery has none: recall@10 is measured in its place,
    and nothing is accepted.
    """
    coverage, notes, untold = setup.coverage, list(setup.notes), None
    if gate.metric in BY_LABEL and not setup.bench.labelled:
        notes.append(
            f"The gate asks for {gate.metric}, which needs labels; recall@10 was measured in its place, and decides"
            " nothing."
        )
        untold, gate = gate, AcceptanceGate(gate.judged_in(labelled=False), gate.require, gate.level)
    if measured.fused is not None and not setup.bench.labelled:
        notes.append(
            "How much the new query weighs beside the old one was chosen by what the new model would find, and so leans"
            " to the new model."
        )
    parts, judging = measured.parts, gate.judged_in(labelled=setup.bench.labelled)
    judgeable = math.isclose(sum(part.share for part in parts), 1.0, abs_tol=1e-9)
    figures = {metric: _overall(setup, parts, metric, seed) for metric in _metrics(setup)}
    whole = figures[judging]
    basis = _basis_of(setup, parts)
    self_test, cross = quantity(whole.predicted_old(), basis), quantity(whole.predicted_cross(), basis)
    difference = quantity(whole.difference(), basis)
    draws = {part.name: part.draws(judging, coverage.size, seed + 10 * i) for i, part in enumerate(parts)}
    summaries = tuple(_stratum(setup, part, draws[part.name]) for part in parts)
    seen, unseen = draws.get("covered"), draws.get("not covered")
    backfilled, left = full_re_embedding(setup, measured.rows, judging, seed)
    re_embed = without_errors(seen, left)
    unseen_share = 1 - coverage.share
    losing = losing_groups(setup, parts, judging, seed)
    instant = None if measured.instant is None else _overall(setup, measured.instant, judging, seed)
    fused, together = measured.fused, None
    if fused is not None:
        together = _overall(setup, fused.parts, judging, seed, few_flips=True)
    # What other migrations tell was measured by label at rank 1.
    expected = None if together is None or judging != "cmc@1" else expected_gain(whole, together)
    inputs = VerdictInputs(
        gate=gate,
        old_old=self_test,
        cross=cross,
        difference=difference,
        covered=None if seen is None else quantity(seen.predicted_cross(), "covered part"),
        covered_passes=seen is not None and gate.passed(seen.predicted_cross(), seen.difference()),
        uncovered=None if unseen is None else quantity(unseen.predicted_cross(), "not covered part"),
        uncovered_share=unseen_share,
        uncovered_rows=int(coverage.size[~coverage.covered].sum()),
        gallery_rows=len(coverage.gallery_cell),
        new_is_worse=new_is_worse(backfilled, difference),
        gain=None if backfilled is None else backfilled.gain,
        instant=None if instant is None else quantity(instant.predicted_cross(), basis),
        instant_passes=instant is not None and gate.passed(instant.predicted_cross(), instant.difference()),
        instant_note=measured.instant_note,
        backfill=mixed(seen, re_embed, coverage.share),
        re_embed=re_embed,
        judgeable=judgeable,
        losing=losing,
        wanted=wanted_pairs(setup),
        needed=_needed(setup, whole, gate, trained=measured.trained),
        fused_needed=None if together is None else _needed(setup, together, gate, trained=False),
        labelled=setup.bench.labelled,
        untold=untold,
        trained=measured.trained,
        may_fuse=may_fuse,
        fused_expected=expected,
        fused=None if fused is None or together is None else _fused(setup, fused, together, whole, judging, basis),
    )
    accepted, reason = verdict(inputs)
    return ProofReport(
        accepted=accepted,
        reason=reason,
        gate=str(untold or gate),
        metrics=tuple(_result(metric, d, basis) for metric, d in figures.items()),
        strata=summaries,
        flips=tuple(_flips(part) for part in parts) if setup.bench.labelled else (),
        backfilled=backfilled,
        losing_groups=losing,
        wanted_pairs=inputs.wanted,
        recommendation=recommend(inputs, accepted),
        advice=advise(inputs, accepted),
        notes=tuple(notes),
        basis=Basis(
            judged_by="label" if setup.bench.labelled else "neighbours",
            coverage_by=coverage.by,
            covered_share=coverage.share,
            gallery_rows=len(coverage.gallery_cell),
            gallery_rows_searched=len(setup.gallery_row),
            pairs=len(setup.bench.pairs),
            queries=len(setup.bench.judged),
            row_folds=measured.row_folds,
            cell_folds=measured.cell_folds,
            dependence_range=setup.reach,
            resamples=RESAMPLES,
            seed=seed,
        ),
        served_as="fused" if accepted and not inputs.crossing_passes else "crossing",
        fused=None if inputs.fused is None else replace(inputs.fused, passes=inputs.fused_passes),
    )


def _fused(
    setup: ProofSetup,
    measured: FusedMeasurements,
    together: Draws,
    crossing: Draws,
    metric: RetrievalMetric,
    basis: str,
) -> FusedResult:
    """together: the figures of both models' queries; crossing: of the crossing alone, of the same resampled queries."""
    over = percentile_interval(together.cross_mean - crossing.cross_mean, together.cross - crossing.cross)
    exact, pushed = measured.exact, measured.pushed
    pushed_curve = [None] * len(exact.curve) if pushed is None else pushed.curve.tolist()
    return FusedResult(
        metric=metric,
        quality=quantity(together.predicted_cross(), basis),
        difference=quantity(together.difference(), basis),
        over_crossing=quantity(over, basis),
        alpha=exact.alpha,
        pushed_alpha=exact.alpha if pushed is None else pushed.alpha,
        curve=tuple(map(AlphaPoint, alphas_for(metric).tolist(), exact.curve.tolist(), pushed_curve)),
        flips=tuple(_flips(part) for part in measured.parts) if setup.bench.labelled else (),
    )


def _needed(setup: ProofSetup, figures: Draws, gate: AcceptanceGate, *, trained: bool) -> EvidenceNeeded:
    """How many more pairs would decide, or rows of the evaluation set, where there is one: it judges most.

    trained: whether the pairs are rows that were held out of training.
    """
    read = gate.read(figures.predicted_cross(), figures.difference())
    error, lasting = error_of_cross(figures) if gate.require == "at_least" else error_of_difference(figures)
    bench, most = setup.bench, ProofLimits.queries
    judges = Judges("held-out rows" if trained else "pairs", len(bench.pairs), len(bench.judged), most)
    if (evaluation := setup.evaluation) is not None:
        judges = Judges("evaluation rows", len(evaluation.pairs), len(evaluation.judged), most)
    return evidence_needed(read.mean, gate.asked, error, lasting, judges)


def _metrics(setup: ProofSetup) -> tuple[RetrievalMetric, ...]:
    return METRICS if setup.bench.labelled else ("recall@10",)


def _overall(
    setup: ProofSetup, parts: Sequence[Part], metric: RetrievalMetric, seed: int, *, few_flips: bool = False
) -> Draws:
    """The figures of all strata together, weighted by their shares of the gallery.

    few_flips: whether the search judged may answer nearly every query as the old model does. A stratum without evidence
    is missing in `parts`; the figures are then of the others alone, and the gate rejects.
    """
    total = sum(part.share for part in parts)
    draws = Part.draws_with_few_flips if few_flips else Part.draws
    return combine(
        [(part.share / total, draws(part, metric, setup.coverage.size, seed + 10 * i)) for i, part in enumerate(parts)]
    )


def _basis_of(setup: ProofSetup, parts: Sequence[Part]) -> str:
    """What the figures rest on, in words."""
    judged = "; ".join(
        f"{part.name} {part.share:.0%}: {len(part.judged.cell)} queries, {part.judged_on}" for part in parts
    )
    return f"{judged}; {len(setup.gallery_row)} gallery rows, own entry excluded"


def _result(metric: RetrievalMetric, d: Draws, basis: str) -> MetricResult:
    if metric == "recall@10":
        basis = "nearest 10 among the pairs, as full re-embedding would find them; " + basis
    return MetricResult(
        metric,
        quantity(d.predicted_old(), basis),
        quantity(d.predicted_cross(), basis),
        quantity(d.difference(), basis),
    )


def _stratum(setup: ProofSetup, part: Part, d: Draws) -> Stratum:
    basis = f"{len(part.judged.cell)} queries, {part.judged_on}"
    return Stratum(
        name=part.name,
        share=part.share,
        gallery_rows=int(setup.coverage.size[part.cells].sum()),
        cells=int(part.cells.sum()),
        queries=len(part.judged.cell),
        judged_on=part.judged_on,
        old_old=quantity(d.predicted_old(), basis),
        cross=quantity(d.predicted_cross(), basis),
    )


def _flips(part: Part) -> FlipCount:
    counts = flips(part.judged.old[:, 0], part.judged.cross[:, 0])
    return FlipCount(part.name, counts.negative, counts.positive, counts.total)
