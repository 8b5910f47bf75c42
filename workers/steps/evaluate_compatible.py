"""Proves a trained model on every gallery of the upgrade, and has it accepted, rejected or merely reported."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.composition import Crosswalk, compose
from app.galleries.crossings import open_crossing
from app.upgrades.states import Event
from app.upgrades.tables import UpgradeRow
from models import embedding_model
from models.compatible_proof import prove_compatible
from models.device import resolve
from models.embedding_model import EmbeddingModel
from models.inputs import BadInput, Taken
from models.portable import Architecture
from models.proof import Evidence, Gate, Limits, ProofReport
from models.transformations.pairs import Pairs
from workers.context import StepContext, StepFailed
from workers.evidence.galleries import Items, whole_gallery
from workers.evidence.labelled_rows import LabelledRows, labelled_rows
from workers.evidence.splitting import read_split
from workers.steps.evaluate import reasons

SEED = 0
MOST_QUERIES = 10_000


@dataclass(frozen=True)
class _Embedded:
    """Rows that were not trained on, embedded. id, label: (n,) object; pairs: both models' vectors."""

    id: NDArray[Any]
    pairs: Pairs

    def located(self, items: Items) -> Evidence:
        place = {item: position for position, item in enumerate(items.id)}
        return Evidence(self.pairs, np.array([place.get(item, -1) for item in self.id], np.int64))


def run(context: StepContext) -> None:
    """One proof for each gallery: one that loses rejects the whole upgrade."""
    crosswalk = compose(context.settings)
    upgrade = crosswalk.upgrades.row(context.lease.subject)
    folder = context.settings.artifacts_dir / upgrade.id / "training"
    model = embedding_model.load(context.settings.artifacts_dir / upgrade.id / "model")
    dataset, evaluation = upgrade.request["dataset"], upgrade.request["evaluation"]
    column = Architecture.from_json(upgrade.request["to"]["architecture"]).modality
    rows = labelled_rows(crosswalk, upgrade, dataset, column, folder / f"{dataset}.arrow")
    split = read_split(folder / "split.npz")
    held_out = _embedded(context, model, rows, split.held_out, dataset)
    judged_on = None
    if evaluation:
        path = folder / f"{evaluation}.arrow"
        others = labelled_rows(crosswalk, upgrade, evaluation, column, path)
        judged_on = _embedded(context, model, others, _not_learned(others, rows, split.training), evaluation)
    trained_labels = np.unique(rows.label[split.training].astype(str)).astype(object)
    proofs = {
        name: _prove(context, crosswalk, upgrade, name, held_out, judged_on, trained_labels)
        for name in upgrade.galleries
    }
    failed = {name: report for name, report in proofs.items() if not report.accepted}
    said = {name: report.to_json() for name, report in proofs.items()}

    def apply(session: Session) -> None:
        if upgrade.request["dry_run"]:
            crosswalk.upgrades.advance(
                session, upgrade.id, Event.REPORTED, proofs=said, reason=reasons(failed or proofs)
            )
        elif failed:
            crosswalk.upgrades.advance(session, upgrade.id, Event.REJECTED, proofs=said, reason=reasons(failed))
        else:
            crosswalk.upgrades.finish_compatible(session, upgrade.id, said)

    context.finish(apply)
    shutil.rmtree(folder, ignore_errors=True)  # the rows' copy and the checkpoint have served


def _embedded(
    context: StepContext, model: EmbeddingModel, rows: LabelledRows, places: NDArray[np.int64], dataset: str
) -> _Embedded:
    """Up to `MOST_QUERIES` of these rows, drawn at random."""
    drawn = np.sort(np.random.default_rng(SEED).permutation(places)[:MOST_QUERIES])
    if len(drawn) < 2:
        raise StepFailed(
            f"Dataset {dataset!r} has {len(drawn)} rows that the model was not trained on, to judge it on; at least 2 "
            "are needed, and some hundreds for a verdict. Add rows, or name an `evaluation` dataset."
        )
    try:
        new = model.embed(
            Taken(rows.inputs, drawn),
            device=resolve(context.settings.device),
            progress=context.progress,
        )
    except BadInput as error:
        raise StepFailed(
            f"Row {rows.id[error.row]!r} of dataset {dataset!r} cannot be embedded: {error.reason}."
        ) from error
    return _Embedded(rows.id[drawn], Pairs(rows.old[drawn], new, None, rows.label[drawn]))


def _not_learned(others: LabelledRows, rows: LabelledRows, training: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the evaluation rows that were not trained on under the same id."""
    return np.flatnonzero(~np.isin(others.id.astype(str), rows.id[training].astype(str)))


def _prove(
    context: StepContext,
    crosswalk: Crosswalk,
    upgrade: UpgradeRow,
    name: str,
    held_out: _Embedded,
    judged_on: _Embedded | None,
    trained_labels: NDArray[Any],
) -> ProofReport:
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    items = whole_gallery(crosswalk, crosswalk.galleries.info(name), SEED)
    return prove_compatible(
        items.as_gallery(side=False),
        held_out.located(items),
        open_crossing(context.settings.artifacts_dir / upgrade.id, source, target).plain,
        trained_labels=trained_labels,
        source=source,
        target=target,
        gate=Gate.from_json(upgrade.request["gate"]),
        evaluation=None if judged_on is None else judged_on.located(items),
        limits=Limits(gallery=context.settings.evaluation_gallery_limit),
        seed=SEED,
    )
