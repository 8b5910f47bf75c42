"""Upgrades put into the database in any state, without the steps that would lead there."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.storage.database import Database
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import UpgradeState
from app.upgrades.tables import UpgradeRow

FORWARD_REQUEST = {"strategy": "forward", "to": "new", "dataset": "d", "evaluation": None}


def upgrade_info(upgrade: str, request: Mapping[str, Any], galleries: Sequence[str]) -> UpgradeInfo:
    """What the service makes of a stored request, of whichever release, for an upgrade from `old` to `new`."""
    return UpgradeInfo.of(_row(upgrade, request, galleries, UpgradeState.QUEUED, "new"))


def store_upgrade(
    database: Database,
    upgrade: str,
    state: UpgradeState,
    galleries: Sequence[str],
    *,
    request: Mapping[str, Any] = FORWARD_REQUEST,
    target: str = "new",
    served_as: str | None = None,
    learned: Mapping[str, Any] | None = None,
    proofs: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """An upgrade from the model `old` in this state; it has no artifacts."""
    with database.session() as session:
        row = _row(upgrade, request, galleries, state, target)
        row.served_as, row.reason = served_as, reason
        row.learned = None if learned is None else dict(learned)
        row.proofs = None if proofs is None else dict(proofs)
        session.add(row)


def _row(
    upgrade: str, request: Mapping[str, Any], galleries: Sequence[str], state: UpgradeState, target: str
) -> UpgradeRow:
    return UpgradeRow(
        id=upgrade, source="old", target=target, request=dict(request), galleries=list(galleries), state=state
    )
