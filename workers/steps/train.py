"""Learns the crossing: tries the candidates on the dataset's pairs, keeps the best, saves it as an artifact."""

from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch._dynamo  # noqa: F401  # which optimisers import at first use: where steps are forked, once for all of them
from sqlalchemy.orm import Session

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.failpoints import Failpoint, reached
from app.galleries.lineage import SIDE_INFORMATION
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import Event
from models.json_values import plain
from models.portable import (
    Space,
    Transformation,
    save_score_translations,
    save_transformation,
    save_uncertainty,
)
from models.transformations.selection import Selection, select
from models.transformations.stand_in import StandInResult, try_stand_in
from models.uncertainty import LearnedUncertainty
from workers.context import StepContext
from workers.rows.label_cover import labels_cover
from workers.rows.pairs import DatasetPairs, load_pairs
from workers.training.earlier_models import ChainLearning
from workers.training.held_out_pairs import held_out_fits, learn_from_held_out
from workers.training.query_pairs import learn_from_queries
from workers.training.score_translation import draw_from_galleries, learn_scores, queries_of

SEED = 0
ENOUGH_WITH_SIDE = 0.5  # share of the pairs that have side-information, from which on it is learned from


def run(context: StepContext) -> None:
    """From pairs to artifact. Learning again after a crash gives the same artifact: everything is seeded."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.begin(context.lease.subject)
    known = load_pairs(crosswalk, upgrade, upgrade.asked.dataset)
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    lacking = _items_without_side(crosswalk, upgrade)
    if known.has_side.mean() < ENOUGH_WITH_SIDE or lacking == 1:
        known = known.without_side()
    selection = select(
        known.pairs,
        source,
        target,
        method=upgrade.forward.method,
        labels=labels_cover(crosswalk, upgrade.galleries, known.pairs),
        device=context.settings.device,
        seed=SEED,
        progress=context.progress,
    )
    pushing, asked, logged = learn_from_queries(crosswalk, upgrade, selection, known, SEED)
    chosen, tried = _served_by(selection, known, lacking, source, target)
    artifacts = UpgradeArtifacts(context.settings.artifacts_dir, upgrade.id)
    card = save_transformation(chosen, artifacts.chosen)
    reached(Failpoint.CROSSING_SAVED)
    if logged is None:
        artifacts.logged.unlink(missing_ok=True)  # that a try before a crash may have left, from other queries
    else:
        logged.save(artifacts.logged)
    save_transformation(pushing.instant, artifacts.plain)
    reached(Failpoint.PLAIN_CROSSING_SAVED)
    uncertainty = partial(context.progress, step="uncertainty")
    fits = held_out_fits(known, chosen, selection.refit, uncertainty)
    missing = learn_from_held_out(
        known, replace(chosen, card=card), fits, device=context.settings.device, progress=uncertainty
    )
    if missing is not None:
        save_uncertainty(missing[0].uncertainty, artifacts.uncertainty)
        reached(Failpoint.UNCERTAINTY_SAVED)
        missing[1].save(artifacts.held_out)
        reached(Failpoint.HELD_OUT_SAVED)
    scores = None
    judged_alone = logged is not None
    if (queries := queries_of(crosswalk, upgrade, known, len(fits), judged_alone=judged_alone)) is not None:
        scores = learn_scores(
            known,
            queries,
            draw_from_galleries(crosswalk, upgrade),
            pushing,
            chosen.stand_in,
            fits,
            partial(context.progress, step="scores"),
        )
    if scores is not None:
        save_score_translations(scores.translations, artifacts.scores)
    chain = ChainLearning(
        crosswalk,
        upgrade,
        known,
        selection,
        chosen,
        artifacts,
        device=context.settings.device,
        progress=partial(context.progress, step="chain"),
    )
    learned = _summary(selection) | {
        "pairs_without_side_information": int((~known.has_side).sum()) if chosen.card.side_dimension else None,
        "stand_in": None if tried is None else asdict(tried),
        "query_pairs": None if asked is None else asdict(asked),
        "uncertainty": None if missing is None else _uncertainty(missing[0]),
        "scores": None if scores is None else scores.to_json(),
        "chain": [link.to_json() for link in chain.links()],
    }

    def apply(session: Session) -> None:
        crosswalk.upgrade_steps.advance(session, upgrade.id, Event.TRAINED, "evaluate", learned=learned)

    context.finish(apply)


def _served_by(
    selection: Selection, known: DatasetPairs, lacking: float, source: Space, target: Space
) -> tuple[Transformation, StandInResult | None]:
    """What was chosen, with something to stand in for what items lack where that serves them better than `instant`."""
    chosen = selection.chosen
    if chosen.card.side_dimension is None or not lacking:
        return chosen, None
    stand_in = known.stand_in(source)
    tried = try_stand_in(
        known.pairs, target, stand_in, selection.refit, selection.refit_instant, share=lacking, seed=SEED
    )
    return replace(chosen, stand_in=stand_in) if tried.helps else chosen, tried


def _items_without_side(crosswalk: Crosswalk, upgrade: UpgradeInfo) -> float:
    """The share of the upgrade's items that have no side-information."""
    tables = [crosswalk.galleries.items(crosswalk.galleries.info(name)) for name in upgrade.galleries]
    having = sum(table.count(f"{SIDE_INFORMATION} IS NOT NULL") for table in tables if table.has(SIDE_INFORMATION))
    total = sum(table.count() for table in tables)
    return 1 - having / total if total else 0.0


def _summary(selection: Selection) -> dict[str, Any]:
    """What the report says of learning."""
    card = selection.chosen.card
    return {
        "method": card.method,
        "uses_side_information": card.side_dimension is not None,
        "uses_labels": bool(card.settings.get("labels")),
        "instant_method": selection.instant.card.method,
        "pairs": card.pairs,
        "settings": dict(card.settings),
        "metric": selection.metric,
        "candidates": [asdict(candidate) for candidate in selection.candidates],
        "learning_curve": [{"pairs": pairs, selection.metric: value} for pairs, value in selection.learning_curve],
    }


def _uncertainty(learned: LearnedUncertainty) -> dict[str, Any]:
    """What the report says of how well it is known where the transformation misses."""
    summary: dict[str, Any] = plain(
        {"method": learned.method, "candidates": learned.candidates, "reliability": learned.reliability}
    )
    return summary
