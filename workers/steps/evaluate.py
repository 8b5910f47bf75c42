"""Proves the crossing on every gallery of the upgrade, and has it accepted, rejected or merely reported."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from sqlalchemy.orm import Session

from app.artifacts.crossings import Crossing, open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.failpoints import Failpoint, reached
from app.upgrades.info import UpgradeInfo
from app.upgrades.judged import of_queries_alone
from app.upgrades.states import Event
from models.device import resolve
from models.portable import Array, Transformation
from models.proof.crossing import Refittable, prove
from models.proof.inputs import NothingToJudge, ProofLimits
from models.proof.judged_proof import prove_by_queries
from models.proof.report import ProofReport
from models.transformations.methods import Recipe, learn, method_named
from models.transformations.stand_in import predict_side
from workers.context import StepContext, StepFailed
from workers.reporting.acceptance_gate import gate_of
from workers.reporting.drawn_report import keep_charts
from workers.reporting.gallery_report import GalleryReport, early_end, report_galleries, served_fused
from workers.reporting.provisional import marked_provisional
from workers.rows.judged_queries import judged_gallery
from workers.rows.pairs import DatasetPairs, load_pairs
from workers.rows.query_pairs import LoggedQueries, holds
from workers.serving.prepare import ServingMeasurements, prepare_serving
from workers.training.gallery_fusion import keep_fusion
from workers.training.query_pairs import refit_beside

SEED = 0


def run(context: StepContext) -> None:
    """One proof for each gallery: one that loses rejects the whole upgrade, and every gallery stays as it was."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.info(context.lease.subject)
    learned_from = load_pairs(crosswalk, upgrade, upgrade.asked.dataset)
    logged = LoggedQueries.load(UpgradeArtifacts(context.settings.artifacts_dir, upgrade.id).logged)
    evaluation = upgrade.asked.evaluation
    judged_on: DatasetPairs | None = None
    notes: tuple[str, ...] = ()
    if evaluation and not of_queries_alone(crosswalk.datasets, evaluation, upgrade.source, upgrade.target):
        judged_on, notes = _not_logged(load_pairs(crosswalk, upgrade, evaluation), evaluation, logged)
    proofs = {
        name: _prove(context, crosswalk, upgrade, name, learned_from, judged_on, logged, notes)
        for name in upgrade.galleries
    }
    serving: dict[str, ServingMeasurements] = {}
    if upgrade.asked.dry_run or all(proof.accepted for proof in proofs.values()):
        progress = partial(context.progress, step="serve")
        serving = prepare_serving(crosswalk, upgrade, judged_on or learned_from, progress)
    crossing = _crossing(context, crosswalk, upgrade)
    reports = report_galleries(crosswalk, upgrade, crossing, proofs, serving, learned_from)
    keep_charts(crosswalk, upgrade.id, reports)
    context.finish(lambda session: _conclude(session, crosswalk, upgrade, reports))


def _not_logged(
    judged_on: DatasetPairs, evaluation: str, logged: LoggedQueries | None
) -> tuple[DatasetPairs, tuple[str, ...]]:
    """The evaluation set without the rows that `instant` has learned from as queries, since they came to the set only
    after it had, and a note for the report. Raises StepFailed where no row is left."""
    if logged is None or not (known := holds(logged.pairs.new, judged_on.pairs.new)).any():
        return judged_on, ()
    if known.all():
        raise StepFailed(
            f"Every row of dataset {evaluation!r} with vectors of both models is a query that the crossing learned from"
            " as a log, and judges nothing. Start the upgrade again: what the set holds by then is not learned from."
        )
    note = f"{known.sum()} rows of the evaluation set are left out: the crossing learned from them as a log of queries."
    return judged_on.subset(np.flatnonzero(~known)), (note,)


def _conclude(
    session: Session, crosswalk: Crosswalk, upgrade: UpgradeInfo, reports: Mapping[str, GalleryReport]
) -> None:
    """Writes the reports down, and moves the upgrade on: to its end, to be transformed, or to be ready as it is."""
    steps, written = crosswalk.upgrade_steps, {name: report.to_json() for name, report in reports.items()}
    rewrite, fused = upgrade.forward.rewrite, served_fused(reports)
    if (end := early_end(reports, dry_run=upgrade.asked.dry_run, rewrite=rewrite)) is not None:
        steps.advance(session, upgrade.id, end[0], proofs=written, reason=end[1])
    elif fused:
        steps.finish_untouched(session, upgrade.id, written, fused=True)
    elif rewrite:
        steps.advance(session, upgrade.id, Event.ACCEPTED, "transform", proofs=written)
    else:
        steps.finish_untouched(session, upgrade.id, written)


def _prove(
    context: StepContext,
    crosswalk: Crosswalk,
    upgrade: UpgradeInfo,
    name: str,
    learned_from: DatasetPairs,
    judged_on: DatasetPairs | None,
    logged: LoggedQueries | None,
    notes: tuple[str, ...],
) -> ProofReport:
    """The proof of the crossing on the gallery of this name, as it will be served, by judged queries where there are
    enough; what fuses it with the old model's queries there is kept among the artifacts.

    judged_on: the evaluation set, if the upgrade names one, in place of pairs held out of refits; logged: the queries
    that `instant` learned from besides, None where it did from none; notes: for the report. Raises StepFailed where the
    pairs known cannot judge the crossing.
    """
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    crossing = _crossing(context, crosswalk, upgrade)
    info = crosswalk.galleries.info(name)
    gate = gate_of(upgrade)
    artifacts = UpgradeArtifacts(context.settings.artifacts_dir, upgrade.id)
    judged = judged_gallery(crosswalk, upgrade, info, gate, SEED, logged)
    items = judged.items
    weights = crosswalk.samples.weights(info, learned_from.ids)
    reads = crossing.chosen.card.side_dimension
    side, parts = reads is not None, [rows for rows in (learned_from, judged_on) if rows is not None]
    if reads is not None:
        learned_from = learned_from.beside(reads)
        judged_on = None if judged_on is None else judged_on.beside(reads)

    def learner(h: Transformation) -> Refittable[Transformation]:
        recipe = Recipe(method_named(h.card.method), h.card.side_dimension is not None, h.card.settings)
        refit = partial(learn, recipe, source=source, target=target, device=resolve(context.settings.device), seed=SEED)
        return Refittable(h, refit)

    def guess(old: Array) -> Array:
        return predict_side(crossing.chosen.stand_in or learned_from.stand_in(source), old, source)

    chosen, instant = learner(crossing.chosen), learner(crossing.plain)
    if logged is not None and (beside := logged.apart_from(learned_from.pairs)) is not None:
        instant = Refittable(crossing.plain, refit_beside(instant.refit, beside.pairs))
    mixture = Refittable(
        crossing,
        lambda pairs: Crossing(replace(chosen.refit(pairs), stand_in=crossing.chosen.stand_in), instant.refit(pairs)),
    )
    everywhere = items.side.has.all() and all(rows.has_side.all() for rows in parts)
    served = chosen if everywhere or not side else mixture
    gallery, placed = items.as_gallery(side=side, guess=guess), learned_from.located(items, weights, side=side)
    # Readers of a store of the user's own see one vector of an item or the other: only where it is left as it is can
    # queries still be of both models.
    may_fuse = upgrade.forward.fused and (info.elsewhere is None or not upgrade.forward.rewrite)
    limits = ProofLimits.of(context.settings.evaluation_gallery_limit, linear=crossing.chosen.linear)
    try:
        if judged.queries is not None:
            proof = prove_by_queries(
                gallery,
                placed,
                served,
                judged.queries,
                source=source,
                target=target,
                gate=gate,
                instant=instant,
                may_fuse=may_fuse,
                limits=limits,
                seed=SEED,
                progress=context.progress,
            )
        else:
            proof = prove(
                gallery,
                placed,
                served,
                source=source,
                target=target,
                gate=gate,
                instant=instant,
                evaluation=None if judged_on is None else judged_on.located(items, None, side=side),
                may_fuse=may_fuse,
                limits=limits,
                seed=SEED,
                progress=context.progress,
            )
    except NothingToJudge as error:
        raise StepFailed(f"The crossing cannot be judged on gallery {name!r}: {error}.") from error
    proof = marked_provisional(crosswalk, upgrade, replace(proof, notes=(*proof.notes, *judged.notes, *notes)))
    if proof.accepted and not upgrade.asked.dry_run:
        keep_fusion(artifacts, name, crossing, proof, items)
        reached(Failpoint.FUSION_SAVED)
    return proof


def _crossing(context: StepContext, crosswalk: Crosswalk, upgrade: UpgradeInfo) -> Crossing:
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    return open_crossing(UpgradeArtifacts(context.settings.artifacts_dir, upgrade.id), source, target)
