"""Rows of upgrades, found, locked and moved on: what clients' calls and the workers' steps have in common."""

from sqlalchemy.orm import Session

from app.problems import NotFound, WrongState
from app.upgrades import states
from app.upgrades.states import Event, ImpossibleTransition, UpgradeState
from app.upgrades.tables import UpgradeRow


def find(session: Session, upgrade: str) -> UpgradeRow:
    """Raises NotFound."""
    return _there(session.get(UpgradeRow, upgrade), upgrade)


def lock(session: Session, upgrade: str) -> UpgradeRow:
    """The same, held by the session until its transaction ends. Raises NotFound."""
    return _there(session.get(UpgradeRow, upgrade, with_for_update=True), upgrade)


def move(row: UpgradeRow, event: Event) -> None:
    """Into the state that the event leads to. Raises WrongState where it leads to none."""
    try:
        row.state = states.after(UpgradeState(row.state), event)
    except ImpossibleTransition as error:
        raise WrongState(f"Upgrade {row.id}: {error}.", state=row.state) from None


def _there(row: UpgradeRow | None, upgrade: str) -> UpgradeRow:
    if row is None:
        raise NotFound(f"There is no upgrade {upgrade!r}. GET /upgrades lists them.")
    return row
