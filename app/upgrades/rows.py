"""Rows of upgrades, found, locked and moved on: what clients' calls and the workers' steps have in common."""

from sqlalchemy.orm import Session

from app.keys.access import Access
from app.problems import NotFound, WrongState
from app.upgrades import states
from app.upgrades.states import Event, ImpossibleTransition, UpgradeState
from app.upgrades.tables import UpgradeRow


def find(session: Session, upgrade: str) -> UpgradeRow:
    """The row of an upgrade. Raises NotFound."""
    return _existing(session.get(UpgradeRow, upgrade), upgrade)


def lock(session: Session, upgrade: str) -> UpgradeRow:
    """The row of an upgrade, which nobody else can change until the session's transaction ends. Raises NotFound."""
    return _existing(session.get(UpgradeRow, upgrade, with_for_update=True), upgrade)


def move(row: UpgradeRow, event: Event) -> None:
    """Takes an upgrade into the state that the event leads to. Raises WrongState where it leads to none."""
    row.state = after(row, event)


def after(row: UpgradeRow, event: Event) -> UpgradeState:
    """The state that the event would lead to. Raises WrongState where it leads to none."""
    try:
        return states.after(UpgradeState(row.state), event)
    except ImpossibleTransition as error:
        raise WrongState(f"Upgrade {row.id}: {error}.", state=row.state) from None


def named(row: UpgradeRow, caller: Access) -> str:
    """What an upgrade is called to whoever may see it, and what it is called to anybody else."""
    if caller.sees_upgrade_of(row.galleries):
        return f"upgrade {row.id}"
    return "an upgrade of more galleries than this key sees"


def no_such(upgrade: str) -> NotFound:
    """What is raised for an upgrade that is not there."""
    return NotFound(f"There is no upgrade {upgrade!r}. GET /upgrades lists them.")


def _existing(row: UpgradeRow | None, upgrade: str) -> UpgradeRow:
    if row is None:
        raise no_such(upgrade)
    return row
