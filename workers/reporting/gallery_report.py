"""What an upgrade's report says of one gallery, and why a gallery cannot be served as it is."""

from typing import Any

from app.artifacts.crossings import Crossing
from app.composition import Crosswalk
from app.galleries.lineage import SIDE_INFORMATION
from models.proof.report import ProofReport


def _falling_short(proofs: dict[str, dict[str, Any]]) -> list[str]:
    """Why galleries cannot be served as they are: nothing but a cascade would answer, and it finds too little."""
    return [
        f"Gallery {name!r} cannot be served without being rewritten: {found['k']} candidates a query, the most that "
        f"are allowed, find {found['measured']:.1%} of what the rewritten gallery finds, and "
        f"{found['overlap']:.1%} was asked. Start the upgrade without `rewrite`: false, name a linear `method`, or "
        "raise CROSSWALK_CASCADE_LIMIT."
        for name, proof in proofs.items()
        if (found := proof.get("cascade")) is not None and found["measured"] < found["overlap"]
    ]


def without_side(crosswalk: Crosswalk, name: str, crossing: Crossing) -> dict[str, int]:
    """What the report says of items that lack the side-information which the crossing reads."""
    if crossing.chosen.card.side_dimension is None:
        return {}
    items = crosswalk.galleries.store(crosswalk.galleries.info(name)).items
    lacking = items.count(f"{SIDE_INFORMATION} IS NULL") if items.has(SIDE_INFORMATION) else items.count()
    return {"items_without_side_information": lacking}


def reasons(reports: dict[str, ProofReport]) -> Any:
    """Why, in sentences; each headed by its gallery where there are several."""
    if len(reports) == 1:
        return next(iter(reports.values())).reason
    return " ".join(f"Gallery {name!r}: {report.reason}" for name, report in reports.items())
