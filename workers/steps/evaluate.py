"""Proves the crossing on every gallery of the upgrade, and has it accepted, rejected or merely reported."""

from dataclasses import replace
from functools import partial

from sqlalchemy.orm import Session

from app.artifacts.crossings import Crossing, open_crossing
from app.composition import Crosswalk, compose
from app.upgrades.states import Event
from app.upgrades.tables import UpgradeRow
from models.device import resolve
from models.portable import Array, Transformation
from models.proof.crossing import Refittable, prove
from models.proof.gate import AcceptanceGate
from models.proof.inputs import NothingToJudge, ProofLimits
from models.proof.report import ProofReport
from models.transformations.methods import Recipe, learn, method_named
from models.transformations.stand_in import predict_side
from workers.context import StepContext, StepFailed
from workers.reporting.backfill_curves import predict_backfills
from workers.reporting.gallery_report import _falling_short, reasons, without_side
from workers.reporting.priced_advice import priced, timed
from workers.rows.items import whole_gallery
from workers.rows.pairs import DatasetPairs, load_pairs
from workers.serving.prepare import prepare_serving
from workers.training.earlier_models import judged_by_composition

SEED = 0


def run(context: StepContext) -> None:
    """One proof for each gallery: one that loses rejects the whole upgrade, and every gallery stays as it was."""
    crosswalk = compose(context.settings)
    upgrade = crosswalk.upgrades.row(context.lease.subject)
    learned_from = load_pairs(crosswalk, upgrade, upgrade.request["dataset"])
    evaluation = upgrade.request["evaluation"]
    judged_on = load_pairs(crosswalk, upgrade, evaluation) if evaluation else None
    reports = {name: _prove(context, crosswalk, upgrade, name, learned_from, judged_on) for name in upgrade.galleries}
    failed = {name: report for name, report in reports.items() if not report.accepted}
    predicted = predict_backfills(crosswalk, upgrade, reports, learned_from)
    proofs = {name: report.to_json() | predicted[name] for name, report in reports.items()}
    if upgrade.request["dry_run"] or not failed:
        served = prepare_serving(crosswalk, upgrade, judged_on or learned_from, partial(context.progress, step="serve"))
        proofs = {name: proof | served[name] for name, proof in proofs.items()}
    crossing = _crossing(context, crosswalk, upgrade)
    rate = timed(crossing, learned_from.pairs)
    for name, proof in proofs.items():
        proof |= without_side(crosswalk, name, crossing)
        proof["notes"] += judged_by_composition(crosswalk, upgrade, name)
        proof["advice"] = priced(reports[name], proof, rate, context.settings)

    short = [] if upgrade.request.get("rewrite", True) or failed else _falling_short(proofs)

    def apply(session: Session) -> None:
        if upgrade.request["dry_run"]:
            crosswalk.upgrades.advance(
                session, upgrade.id, Event.REPORTED, proofs=proofs, reason=reasons(failed or reports)
            )
        elif failed:
            crosswalk.upgrades.advance(session, upgrade.id, Event.REJECTED, proofs=proofs, reason=reasons(failed))
        elif short:
            crosswalk.upgrades.advance(session, upgrade.id, Event.REJECTED, proofs=proofs, reason=" ".join(short))
        elif upgrade.request.get("rewrite", True):
            crosswalk.upgrades.advance(session, upgrade.id, Event.ACCEPTED, "transform", proofs=proofs)
        else:
            crosswalk.upgrades.finish_untouched(session, upgrade.id, proofs)

    context.finish(apply)


def _prove(
    context: StepContext,
    crosswalk: Crosswalk,
    upgrade: UpgradeRow,
    name: str,
    learned_from: DatasetPairs,
    judged_on: DatasetPairs | None,
) -> ProofReport:
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    crossing = _crossing(context, crosswalk, upgrade)
    info = crosswalk.galleries.info(name)
    items = whole_gallery(crosswalk, info, SEED)
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
    mixture = Refittable(
        crossing,
        lambda pairs: Crossing(replace(chosen.refit(pairs), stand_in=crossing.chosen.stand_in), instant.refit(pairs)),
    )
    everywhere = items.side.has.all() and all(rows.has_side.all() for rows in parts)
    try:
        return prove(
            items.as_gallery(side=side, guess=guess),
            learned_from.located(items, weights, side=side),
            chosen if everywhere or not side else mixture,
            source=source,
            target=target,
            gate=AcceptanceGate.from_json(upgrade.request["gate"]),
            instant=instant,
            evaluation=None if judged_on is None else judged_on.located(items, None, side=side),
            limits=ProofLimits.of(context.settings.evaluation_gallery_limit, linear=crossing.chosen.linear),
            seed=SEED,
            progress=context.progress,
        )
    except NothingToJudge as error:
        raise StepFailed(f"The crossing cannot be judged on gallery {name!r}: {error}.") from error


def _crossing(context: StepContext, crosswalk: Crosswalk, upgrade: UpgradeRow) -> Crossing:
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    return open_crossing(context.settings.artifacts_dir / upgrade.id, source, target)
