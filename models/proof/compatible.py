"""Proof of a model trained to be compatible: not trained again for every fold, so rows were kept from training.

The verdict is about the gallery, as in `models.proof.crossing`. Its classes that were trained on are judged on held-out
rows of trained classes; the others on rows of classes that were held out of training whole.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from models.portable import Space, Transformation
from models.proof.bench import old_scores
from models.proof.gate import AcceptanceGate
from models.proof.held_out_scores import scores_without_refit
from models.proof.inputs import PlacedPairs, ProofGallery, ProofLimits
from models.proof.report import ProofReport
from models.proof.setup import ProofSetup, prepare
from models.proof.strata import strata
from models.proof.write_report import ProofMeasurements, write_report


def prove_compatible(
    gallery: ProofGallery,
    held_out: PlacedPairs,
    alignment: Transformation,
    *,
    trained_labels: NDArray[Any],
    source: Space,
    target: Space,
    gate: AcceptanceGate | None = None,
    evaluation: PlacedPairs | None = None,
    limits: ProofLimits | None = None,
    seed: int = 0,
) -> ProofReport:
    """Measures new queries against the untouched gallery, predicts that for the whole of it, and judges by the gate.

    held_out: rows that were not trained on, with the old and the new model's vectors; evaluation: the same, given by
    the user, for the whole gallery. alignment: the zero-padding. trained_labels: of the rows trained on. Raises
    NothingToJudge where there are too few rows, and ValueError where shapes do not fit.
    """
    setup = prepare(gallery, held_out, evaluation, source, target, limits or ProofLimits(), seed, trained_labels)
    return write_report(
        setup, _measure(setup, alignment, limits or ProofLimits(), seed), gate or AcceptanceGate(), seed
    )


def _measure(setup: ProofSetup, alignment: Transformation, limits: ProofLimits, seed: int) -> ProofMeasurements:
    old, rows = old_scores(setup.bench), scores_without_refit(setup.bench, alignment)
    judged = setup.judged(old, rows.scores, by_row=False)
    trained = setup.coverage.covered[judged.cell]
    evaluated = None
    if setup.evaluation is not None:
        evaluated = setup.evaluated(
            old_scores(setup.evaluation), scores_without_refit(setup.evaluation, alignment).scores
        )
    parts = strata(
        setup.coverage,
        judged.take(trained),
        judged.take(~trained),
        evaluated,
        setup.gallery_known(limits.queries, seed),
    )
    return ProofMeasurements(
        parts=tuple(parts),
        instant=None,
        instant_note="",
        rows=rows,
        row_folds=1,
        cell_folds=int((~trained).any()),
        trained=True,
    )
