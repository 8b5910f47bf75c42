"""Proof before the switch: is this crossing good enough for this gallery?

The verdict is about the gallery, not about the sample of pairs. What the pairs cover is judged on held-out rows; what
they do not cover, on whole classes (or regions of the old space) held out; both are weighted by their share of the
gallery, and the gate reads the interval of the whole. A separate evaluation set takes the place of held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from models.arrays import Progress, Scores
from models.evaluation.retrieval_metrics import RetrievalMetric
from models.portable import Card, Space, Transformation
from models.proof.bench import old_scores
from models.proof.fused_proof import ChosenAlpha, HeldOutByAlpha, choose_alpha
from models.proof.gate import AcceptanceGate
from models.proof.held_out_scores import HeldOutScores, Pushable, cross_val_scores, scores_without_refit, with_recall
from models.proof.inputs import PlacedPairs, ProofGallery, ProofLimits
from models.proof.mismatched_pairs import mismatched
from models.proof.pushed_scores import PushedScores, pushed_scores
from models.proof.report import ProofReport
from models.proof.setup import ProofSetup, prepare
from models.proof.strata import Part, strata
from models.proof.write_report import FusedMeasurements, ProofMeasurements, write_report
from models.transformations.mixture import Mover
from models.transformations.pairs import Pairs

M = TypeVar("M", bound=Mover, covariant=True)


@dataclass(frozen=True)
class Refittable(Generic[M]):
    """A transformation learned from all pairs, and how to learn its like from some of them."""

    transformation: M
    refit: Callable[[Pairs], M]


def prove(
    gallery: ProofGallery,
    learned_from: PlacedPairs,
    chosen: Refittable[Mover],
    *,
    source: Space,
    target: Space,
    gate: AcceptanceGate | None = None,
    instant: Refittable[Transformation] | None = None,
    evaluation: PlacedPairs | None = None,
    may_fuse: bool = True,
    limits: ProofLimits | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ProofReport:
    """Measures the crossing, predicts it for the whole gallery, judges it by the gate, and says what to do.

    chosen: what serves the gallery; a mixture, where some items lack side-information. instant: the crossing that is
    pushed into the query, where there is one. evaluation: pairs that were not learned from; rows that were are left
    out. may_fuse: whether both models' queries together may meet the gate where the crossing alone does not; they are
    measured either way. Without `limits`, a network is judged in fewer folds than a linear crossing. Raises
    NothingToJudge where there are too few pairs, and ValueError where shapes do not fit.
    """
    if limits is None:
        limits = ProofLimits.of(ProofLimits.gallery, linear=chosen.transformation.linear)
    setup = prepare(gallery, learned_from, evaluation, source, target, limits, seed)
    gate = gate or AcceptanceGate()
    metric = gate.judged_in(labelled=setup.bench.labelled)
    setup, measured = _measure(setup, chosen, instant, metric, limits.queries, seed, progress)
    return write_report(setup, measured, gate, seed, may_fuse=may_fuse)


def _measure(
    setup: ProofSetup,
    chosen: Refittable[Mover],
    instant: Refittable[Transformation] | None,
    metric: RetrievalMetric,
    queries: int,
    seed: int,
    progress: Progress | None,
) -> tuple[ProofSetup, ProofMeasurements]:
    """What was measured, and the setup without the pairs that turned out to be paired wrongly."""
    needs_cells = setup.coverage.share < 1 and bool((setup.cell_fold >= 0).any())
    folds = [int(fold.max()) + 1 for fold in (setup.row_fold, *([setup.cell_fold] if needs_cells else []))]
    parts_done = _shares_of(progress, folds)
    known = setup.gallery_known(queries, seed)
    if instant is not None and not instant.transformation.pushable:
        instant = None
    # What is pushed is as a rule what is chosen, which is then not learned again.
    push = None if instant is None else _pushing(instant, same=instant.transformation.card == _card(chosen))
    rows = cross_val_scores(setup.bench, setup.row_fold, chosen.refit, fused=metric, push=push, progress=parts_done[0])
    setup, rows = _rightly_paired(setup, rows)
    rows = with_recall(setup.bench, rows, setup.row_fold, metric)
    old, cells = old_scores(setup.bench), None
    if needs_cells:
        cells = cross_val_scores(
            setup.bench,
            setup.cell_fold,
            chosen.refit,
            learned=rows.vectors,
            fused=metric,
            push=push,
            progress=parts_done[1],
        )
        cells = with_recall(setup.bench, cells, setup.cell_fold, metric, learned=rows.vectors)
    direct, direct_old = None, None
    if setup.evaluation is not None:
        direct = scores_without_refit(setup.evaluation, chosen.transformation, metric)
        direct_old = old_scores(setup.evaluation)
    learned = setup.coverage.covered[setup.coverage.pair_cell[setup.bench.judged]]

    def cut(by_row: Scores, by_cell: Scores | None, evaluated: Scores | None) -> tuple[Part, ...]:
        return tuple(
            strata(
                setup.coverage,
                setup.judged(old, by_row, by_row=True),
                None if by_cell is None else setup.judged(old, by_cell, by_row=False).take(learned),
                None if evaluated is None or direct_old is None else setup.evaluated(direct_old, evaluated),
                known,
            )
        )

    pushed = None
    if instant is not None and rows.pushed is not None:
        pushed = _pushed(setup, instant, rows.pushed, None if cells is None else cells.pushed, metric)
    exact = choose_alpha(setup, HeldOutByAlpha(rows.fused, None if cells is None else cells.fused), metric)
    measured = ProofMeasurements(
        parts=cut(rows.scores, None if cells is None else cells.scores, None if direct is None else direct.scores),
        instant=None if pushed is None else cut(pushed.rows, pushed.cells, pushed.evaluated),
        instant_note="no transformation that can be pushed into the query" if pushed is None else pushed.note,
        rows=rows,
        row_folds=folds[0],
        cell_folds=folds[1] if needs_cells else 0,
        fused=FusedMeasurements(
            parts=cut(exact.rows, exact.cells, None if direct is None else exact.of(direct.fused)),
            exact=exact,
            pushed=None if pushed is None else pushed.alpha,
        ),
    )
    return setup, measured


def _rightly_paired(setup: ProofSetup, rows: HeldOutScores) -> tuple[ProofSetup, HeldOutScores]:
    """The setup and the scores with rows held out, without pairs that seem to have the new vector of another item."""
    judged = setup.bench.judged
    wrong = mismatched(setup.bench.pairs.new[judged], rows.vectors, setup.bench.target.metric)
    if not wrong.any():
        return setup, rows
    note = (
        f"{wrong.sum()} of {len(judged)} pairs seem to have another item's new vector: it is no nearer to their own old"
        " vector, transformed, than to any other pair's. As queries they can find nothing by any crossing: they are not"
        " counted, though they were learned from. See whether rows slipped where the pairs were put together."
    )
    return setup.asking(~wrong, note), rows.take(~wrong)


@dataclass(frozen=True)
class _Pushed:
    """The scores (m, 4) of pushed queries: with rows held out, with cells held out, of the evaluation set, the last two
    None where there are none; the weight at which they are fused with the old queries; and what the report says."""

    rows: Scores
    cells: Scores | None
    evaluated: Scores | None
    alpha: ChosenAlpha
    note: str


def _pushed(
    setup: ProofSetup,
    instant: Refittable[Transformation],
    by_row: PushedScores,
    by_cell: PushedScores | None,
    metric: RetrievalMetric,
) -> _Pushed:
    """by_row, by_cell: with rows and with cells held out, None where no cells were."""
    evaluated = None
    if setup.evaluation is not None:
        evaluated = pushed_scores(setup.evaluation, instant.transformation, metric).scores
    reason = instant.transformation.push(setup.bench.pairs.new[:1]).reason
    return _Pushed(
        by_row.scores,
        None if by_cell is None else by_cell.scores,
        evaluated,
        choose_alpha(setup, HeldOutByAlpha(by_row.fused, None if by_cell is None else by_cell.fused), metric),
        f"new queries pushed into the old gallery at once, no vector rewritten; {reason}",
    )


def _pushing(instant: Refittable[Transformation], *, same: bool) -> Pushable:
    """What is pushed in each fold; same: whether that is what transforms the gallery."""

    def pushed(h: Mover, learned_from: Pairs) -> Transformation:
        return h if same and isinstance(h, Transformation) else instant.refit(learned_from)

    return pushed


def _card(chosen: Refittable[Mover]) -> Card | None:
    return chosen.transformation.card if isinstance(chosen.transformation, Transformation) else None


def _shares_of(progress: Progress | None, folds: list[int]) -> list[Progress | None]:
    """One callback for each round of folds, all reporting into the caller's as one count."""
    if progress is None:
        return [None] * len(folds)
    total, report = sum(folds), progress

    def after(before: int) -> Callable[[int, int], None]:
        return lambda done, _: report(before + done, total)

    return [after(sum(folds[:i])) for i in range(len(folds))]
