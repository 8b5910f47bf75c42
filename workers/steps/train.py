"""Learns the crossing: tries the candidates on the dataset's pairs, keeps the best, saves it as an artifact."""

from dataclasses import asdict, replace
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from app.composition import Crosswalk, compose
from app.galleries.crossings import CHOSEN, PLAIN, UNCERTAINTY
from app.galleries.lineage import SIDE_INFORMATION
from app.upgrades.states import Event
from app.upgrades.tables import UpgradeRow
from models.plain import plain
from models.portable import save, save_uncertainty
from models.transformations.selection import Selection, select
from models.uncertainty import LearnedUncertainty
from workers.context import StepContext
from workers.evidence.backfill import learn_from_held_out
from workers.evidence.label_cover import labels_cover
from workers.evidence.pairs import load_pairs

SEED = 0


def run(context: StepContext) -> None:
    """From pairs to artifact. Learning again after a crash gives the same artifact: everything is seeded."""
    crosswalk = compose(context.settings)
    upgrade = crosswalk.upgrades.begin(context.lease.subject)
    known = load_pairs(crosswalk, upgrade, upgrade.request["dataset"])
    if known.pairs.side is not None and not _every_item_has_side(crosswalk, upgrade):
        known = replace(known, pairs=known.pairs.without_side())
    selection = select(
        known.pairs,
        crosswalk.models.space(upgrade.source),
        crosswalk.models.space(upgrade.target),
        method=upgrade.request["method"],
        labels=labels_cover(crosswalk, upgrade.galleries, known.pairs),
        device=context.settings.device,
        seed=SEED,
        progress=context.progress,
    )
    folder = context.settings.artifacts_dir / upgrade.id
    card = save(selection.chosen, folder / CHOSEN)
    save(selection.instant, folder / PLAIN)
    missing = learn_from_held_out(
        known,
        replace(selection.chosen, card=card),
        selection.refit,
        device=context.settings.device,
        progress=partial(context.progress, step="uncertainty"),
    )
    if missing is not None:
        save_uncertainty(missing[0].uncertainty, folder / UNCERTAINTY)
        missing[1].save(folder)
    learned = _summary(selection) | {"uncertainty": None if missing is None else _uncertainty(missing[0])}

    def apply(session: Session) -> None:
        crosswalk.upgrades.advance(session, upgrade.id, Event.TRAINED, "evaluate", learned=learned)

    context.finish(apply)


def _every_item_has_side(crosswalk: Crosswalk, upgrade: UpgradeRow) -> bool:
    """Whether a transformation that reads side-information could be applied to every item as it stands."""
    tables = [crosswalk.galleries.store(crosswalk.galleries.info(name)).items for name in upgrade.galleries]
    return all(table.has(SIDE_INFORMATION) and not table.count(f"{SIDE_INFORMATION} IS NULL") for table in tables)


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
    found: dict[str, Any] = plain(
        {"method": learned.method, "candidates": learned.candidates, "reliability": learned.reliability}
    )
    return found
