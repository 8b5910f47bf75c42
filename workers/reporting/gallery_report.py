"""What an upgrade reports of a gallery, and what follows from the reports of all its galleries, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.artifacts.cascade import Cascade
from app.artifacts.crossings import Crossing
from app.artifacts.tuning import Tuning
from app.composition import Crosswalk
from app.galleries.lineage import SIDE_INFORMATION
from app.storage.database import utc_now
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import Event
from models.proof.advice import unrewritten
from models.proof.report import ProofReport, Recommendation, Rung
from workers.reporting.backfill_curves import BackfillCurves, predict_backfills
from workers.reporting.priced_advice import priced, priced_recommendation, timed
from workers.rows.pairs import DatasetPairs
from workers.serving.prepare import ServingMeasurements
from workers.training.earlier_models import judged_by_composition


@dataclass(frozen=True)
class GalleryReport:
    """What an upgrade reports of one gallery.

    recommendation: the one thing to do, with the cost of the evidence that it asks for; advice: the rungs of the proof
    and those that serving and backfilling add, each with its cost. The rest is None where there is nothing to report:
    backfill: curves predicted from held-out pairs; cascade: the candidates that answering without rewriting takes;
    index: what its index finds of the new queries; items_without_side_information: how many lack what the crossing
    reads; proved_at: when that was, ISO 8601 in UTC.
    """

    proof: ProofReport
    recommendation: Recommendation
    advice: tuple[Rung, ...]
    backfill: BackfillCurves | None = None
    cascade: Cascade | None = None
    index: Tuning | None = None
    items_without_side_information: int | None = None
    proved_at: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The proof's JSON with this advice in place of its own, and what else is reported; None is left out."""
        besides = {
            "backfill": None if self.backfill is None else self.backfill.to_json(),
            "cascade": None if self.cascade is None else self.cascade.to_json(),
            "index": None if self.index is None else self.index.to_json(),
            "items_without_side_information": self.items_without_side_information,
            "proved_at": self.proved_at,
        }
        advice = {
            "recommendation": self.recommendation.to_json(),
            "advice": [rung.to_json() for rung in self.advice],
        }
        return self.proof.to_json() | advice | {name: value for name, value in besides.items() if value is not None}


def report_galleries(
    crosswalk: Crosswalk,
    upgrade: UpgradeInfo,
    crossing: Crossing,
    proofs: Mapping[str, ProofReport],
    serving: Mapping[str, ServingMeasurements],
    pairs: DatasetPairs,
) -> dict[str, GalleryReport]:
    """What is reported of each gallery that a crossing was proved on, by its name.

    serving: by gallery; empty where none will be served. pairs: what the crossing was learned from.
    """
    backfills = predict_backfills(crosswalk, upgrade, proofs, pairs)
    rate = timed(crossing, pairs.pairs)
    reports = {}
    for name, proof in proofs.items():
        backfill, served = backfills.get(name), serving.get(name)
        cascade, index = (None, None) if served is None else (served.cascade, served.index)
        recommendation = priced_recommendation(proof, rate.dimension, crosswalk.settings)
        advice = priced(proof, rate, crosswalk.settings, backfill=backfill, cascade=cascade)
        can_serve = served is not None and (cascade is None or cascade.finds_enough)
        if can_serve and not upgrade.forward.rewrite:
            recommendation, advice = unrewritten(recommendation, advice)
        reports[name] = GalleryReport(
            replace(proof, notes=(*proof.notes, *judged_by_composition(crosswalk, upgrade, name))),
            recommendation,
            advice,
            backfill,
            cascade,
            index,
            _items_without_side_information(crosswalk, name, crossing),
            utc_now().isoformat(),
        )
    return reports


def _items_without_side_information(crosswalk: Crosswalk, gallery: str, crossing: Crossing) -> int | None:
    """How many items lack the side-information that the crossing reads; None where it reads none."""
    if crossing.chosen.card.side_dimension is None:
        return None
    items = crosswalk.galleries.items(crosswalk.galleries.info(gallery))
    return items.count(f"{SIDE_INFORMATION} IS NULL") if items.has(SIDE_INFORMATION) else items.count()


def early_end(
    reports: Mapping[str, GalleryReport], *, dry_run: bool, rewrite: bool
) -> tuple[Literal[Event.REPORTED, Event.REJECTED], str] | None:
    """How the reports of its galleries end an upgrade, and why; None where it goes on.

    A dry run ends with its report. One gallery that loses has the whole upgrade rejected, and so has one that is not to
    be rewritten and cannot be served as it is, or that the crossing alone is good enough for where another needs the
    fused search.
    """
    proofs = {name: report.proof for name, report in reports.items()}
    losing = {name: proof for name, proof in proofs.items() if not proof.accepted}
    if dry_run:
        return Event.REPORTED, verdict_reasons(losing or proofs)
    if losing:
        return Event.REJECTED, verdict_reasons(losing)
    if served_fused(reports):
        why = why_not_fused_alike(proofs)
    else:
        why = "" if rewrite else why_not_served_unrewritten(reports)
    return (Event.REJECTED, why) if why else None


def served_fused(reports: Mapping[str, GalleryReport]) -> bool:
    """Whether galleries that were accepted are to be served by both models' queries together, and left as they are."""
    return any(report.proof.served_as == "fused" for report in reports.values())


def why_not_fused_alike(proofs: Mapping[str, ProofReport]) -> str:
    """Why galleries cannot all be served by both models' queries, though one needs it; empty where all can."""
    alone = [name for name, proof in proofs.items() if proof.fused is None or not proof.fused.passes]
    fused = [name for name, proof in proofs.items() if proof.served_as == "fused"]
    if not alone:
        return ""
    return (
        f"{verdict_reasons(proofs)} One upgrade serves all its galleries alike: start one for {', '.join(fused)} and"
        f" another for {', '.join(alone)}."
    )


def why_not_served_unrewritten(reports: Mapping[str, GalleryReport]) -> str:
    """Why galleries cannot be served without being rewritten; empty where all of them can.

    One cannot whose new queries only a cascade answers, and whose cascade finds too little.
    """
    return " ".join(
        f"Gallery {name!r} cannot be served without being rewritten: {cascade.k} candidates a query, the most that "
        f"are allowed, find {cascade.measured:.1%} of what the rewritten gallery finds, and "
        f"{cascade.overlap:.1%} was asked. Start the upgrade without `rewrite`: false, name a linear `method`, or "
        "raise CROSSWALK_CASCADE_LIMIT."
        for name, report in reports.items()
        if (cascade := report.cascade) is not None and not cascade.finds_enough
    )


def verdict_reasons(proofs: Mapping[str, ProofReport]) -> str:
    """Why these proofs came out as they did; each headed by its gallery where there are several."""
    if len(proofs) == 1:
        return next(iter(proofs.values())).reason
    return " ".join(f"Gallery {name!r}: {proof.reason}" for name, proof in proofs.items())
