"""Whether a proof's figures are provisional: where a model embeds queries apart from documents, and no query judged."""

from dataclasses import replace

from app.composition import Crosswalk
from app.upgrades.info import UpgradeInfo
from app.upgrades.request import COMPATIBLE
from models.proof.report import ProofReport


def marked_provisional(crosswalk: Crosswalk, upgrade: UpgradeInfo, proof: ProofReport) -> ProofReport:
    """The proof, with why its figures are provisional where they are; its reason and recommendation then say so too."""
    apart = [model for model in (upgrade.source, upgrade.target) if crosswalk.models.get(model).queries == "apart"]
    if not apart or proof.basis.judged_by == "queries":
        return proof
    dataset, named = upgrade.asked.dataset, " and ".join(map(repr, apart))
    bring = (
        f"PUT /datasets/{dataset}/queries with embedding.{upgrade.source} and embedding.{upgrade.target} of each query"
    )
    if upgrade.asked.strategy == COMPATIBLE:
        remedy = (
            f"Start the upgrade with `activate`: `manually`, and measure by judged queries before it serves: {bring} "
            "and the items that are relevant to it, then POST /evaluations with `kind`: `judged`."
        )
    else:
        remedy = (
            f"Bring judged queries: {bring}, as each model embeds queries, and the items that are relevant to it; then "
            "start the upgrade again."
        )
    why = (
        f"Every figure is provisional: {named} embed{'s' if len(apart) == 1 else ''} queries apart from documents, and "
        f"what was measured are documents as queries. {remedy}"
    )
    said = proof.recommendation
    first = replace(said, sentence=f"Provisional: {said.sentence}", rests_on=f"{said.rests_on} {why}")
    return replace(proof, reason=f"{proof.reason} {why}", provisional=why, recommendation=first)
