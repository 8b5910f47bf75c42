"""Learns the crossing: tries the candidates on the dataset's pairs, keeps the best, saves it as an artifact."""

from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from app.composition import Crosswalk, compose
from app.galleries.crossings import CHOSEN, PLAIN
from app.galleries.lineage import SIDE_INFORMATION
from app.upgrades.states import Event
from app.upgrades.tables import UpgradeRow
from models.portable import save
from models.transformations.selection import Selection, select
from workers.context import StepContext
from workers.evidence.label_cover import labels_cover
from workers.evidence.pairs import load_pairs

SEED = 0


def run(context: StepContext) -> None:
    """From pairs to artifact. Learning again after a crash gives the same artifact: everything is seeded."""
    crosswalk = compose(context.settings)
    upgrade = crosswalk.upgrades.begin(context.lease.subject)
    pairs = load_pairs(crosswalk, upgrade, upgrade.request["dataset"]).pairs
    if pairs.side is not None and not _every_item_has_side(crosswalk, upgrade):
        pairs = pairs.without_side()
    selection = select(
        pairs,
        crosswalk.models.space(upgrade.source),
        crosswalk.models.space(upgrade.target),
        method=upgrade.request["method"],
        labels=labels_cover(crosswalk, upgrade.galleries, pairs),
        device=context.settings.device,
        seed=SEED,
        progress=context.progress,
    )
    folder = context.settings.artifacts_dir / upgrade.id
    save(selection.chosen, folder / CHOSEN)
    save(selection.instant, folder / PLAIN)

    def apply(session: Session) -> None:
        crosswalk.upgrades.advance(session, upgrade.id, Event.TRAINED, "evaluate", learned=_summary(selection))

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
