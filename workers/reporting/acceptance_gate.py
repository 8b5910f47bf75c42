"""The gate that an upgrade's request names, as proofs judge by it."""

from app.upgrades.info import UpgradeInfo
from models.proof.gate import AcceptanceGate


def gate_of(upgrade: UpgradeInfo) -> AcceptanceGate:
    """What the crossings of an upgrade must show to be accepted."""
    return AcceptanceGate.from_json(upgrade.asked.gate.model_dump())
