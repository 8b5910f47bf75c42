"""Proves a trained model on every gallery of the upgrade, and has it accepted, rejected or merely reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.shared import SharedArtifacts
from app.composition import Crosswalk, compose
from app.upgrades.info import UpgradeInfo
from models import embedding_model
from models.device import resolve
from models.embedding_model import EmbeddingModel
from models.inputs import BadInput, InputSubset
from models.proof.compatible import prove_compatible
from models.proof.inputs import NothingToJudge, PlacedPairs, ProofLimits
from models.proof.report import ProofReport
from models.transformations.pairs import Pairs
from workers.context import StepContext, StepFailed
from workers.reporting.acceptance_gate import gate_of
from workers.reporting.drawn_report import keep_charts
from workers.reporting.gallery_report import GalleryReport, early_end
from workers.reporting.priced_advice import Rate, priced, priced_recommendation
from workers.reporting.provisional import marked_provisional
from workers.rows.items import Items, whole_gallery
from workers.rows.labelled_rows import LabelledRows, read_rows
from workers.rows.split import not_trained_on, read_split
from workers.steps.train_compatible import FEWEST_JUDGED

SEED = 0


@dataclass(frozen=True)
class _Embedded:
    """Rows that were not trained on, embedded. id: (n,) object; pairs: both models' vectors, and labels."""

    id: NDArray[Any]
    pairs: Pairs

    def located(self, items: Items) -> PlacedPairs:
        """The pairs, each with the place of the item of its id among `items`, -1 where there is none."""
        place = {item: position for position, item in enumerate(items.id)}
        return PlacedPairs(self.pairs, np.array([place.get(item, -1) for item in self.id], np.int64))


def run(context: StepContext) -> None:
    """One proof for each gallery: one that loses rejects the whole upgrade."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.info(context.lease.subject)
    artifacts = UpgradeArtifacts(context.settings.artifacts_dir, upgrade.id)
    model = embedding_model.load(artifacts.model)
    dataset, evaluation = upgrade.asked.dataset, upgrade.asked.evaluation
    rows = read_rows(crosswalk, upgrade, dataset)
    split = read_split(artifacts.split)
    judged_on: list[_Embedded] = []  # at least one has rows: training made sure of it
    if len(split.held_out) >= FEWEST_JUDGED:
        judged_on.append(_embedded(context, model, rows, split.held_out, dataset))
    if evaluation:
        others = read_rows(crosswalk, upgrade, evaluation)
        judged_on.append(_embedded(context, model, others, not_trained_on(others, rows, split), evaluation))
    trained_labels = np.unique(rows.label[split.training].astype(str)).astype(object)
    proofs = {name: _prove(context, crosswalk, upgrade, name, judged_on, trained_labels) for name in upgrade.galleries}
    rate = Rate(crosswalk.models.space(upgrade.target).dimension, 0.0)  # no vector is transformed
    reports = {
        name: GalleryReport(
            proof,
            priced_recommendation(proof, rate.dimension, context.settings),
            priced(proof, rate, context.settings),
        )
        for name, proof in proofs.items()
    }
    keep_charts(crosswalk, upgrade.id, reports)

    def apply(session: Session) -> None:
        steps, written = crosswalk.upgrade_steps, {name: report.to_json() for name, report in reports.items()}
        if (end := early_end(reports, dry_run=upgrade.asked.dry_run, rewrite=False)) is not None:
            steps.advance(session, upgrade.id, end[0], proofs=written, reason=end[1])
        else:
            steps.finish_compatible(session, upgrade.id, written)

    context.finish(apply)
    SharedArtifacts(context.settings).discard(artifacts.training)  # the rows' copy and the checkpoint have served


def _embedded(
    context: StepContext, model: EmbeddingModel, rows: LabelledRows, places: NDArray[np.int64], dataset: str
) -> _Embedded:
    """As many of these rows as a proof asks, drawn at random."""
    drawn = np.sort(np.random.default_rng(SEED).permutation(places)[: ProofLimits.queries])
    try:
        new = model.embed(
            InputSubset(rows.inputs, drawn),
            device=resolve(context.settings.device),
            progress=context.progress,
        )
    except BadInput as error:
        raise StepFailed(
            f"Row {rows.id[error.row]!r} of dataset {dataset!r} cannot be embedded: {error.reason}."
        ) from error
    return _Embedded(rows.id[drawn], Pairs(rows.old[drawn], new, None, rows.label[drawn]))


def _prove(
    context: StepContext,
    crosswalk: Crosswalk,
    upgrade: UpgradeInfo,
    name: str,
    judged_on: Sequence[_Embedded],
    trained_labels: NDArray[Any],
) -> ProofReport:
    """The proof of the trained model on the gallery of this name.

    judged_on: one or two sets of rows that were not trained on; where there are two, the second is the evaluation set.
    trained_labels: (n,) object. Raises StepFailed where these rows cannot judge the model.
    """
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    items = whole_gallery(crosswalk, crosswalk.galleries.info(name), SEED)
    held_out, *evaluation = [rows.located(items) for rows in judged_on]
    try:
        proof = prove_compatible(
            items.as_gallery(side=False),
            held_out,
            open_crossing(UpgradeArtifacts(context.settings.artifacts_dir, upgrade.id), source, target).plain,
            trained_labels=trained_labels,
            source=source,
            target=target,
            gate=gate_of(upgrade),
            evaluation=evaluation[0] if evaluation else None,
            limits=ProofLimits(gallery=context.settings.evaluation_gallery_limit),
            seed=SEED,
        )
    except NothingToJudge as error:
        raise StepFailed(f"The model cannot be judged on gallery {name!r}: {error}.") from error
    return marked_provisional(crosswalk, upgrade, proof)
