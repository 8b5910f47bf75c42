"""Forgetting what an upgrade made that will never be switched to, in stores of the users' own too."""

from sqlalchemy.orm import Session

from app.galleries import generations
from app.galleries.generations import TargetOrder
from app.jobs.service import Jobs

DROP_TARGET = "drop_target"
"""The step that drops what an upgrade wrote into a store of the user's own."""


def abandon(session: Session, jobs: Jobs, upgrade: str) -> None:
    """Forgets the generations of an upgrade. What they have in stores of the users' own is dropped by jobs, which begin
    once the caller's transaction has committed: a store that does not answer must not keep that from happening."""
    for order in generations.abandon(session, upgrade):
        _enqueue(session, jobs, order)


def give_up(session: Session, jobs: Jobs, gallery: str, number: int) -> None:
    """Forgets one generation whose vectors an upgrade wrote into a store of the user's own; they are dropped as by
    `abandon`. Raises as `generations.give_up`."""
    _enqueue(session, jobs, generations.give_up(session, gallery, number))


def _enqueue(session: Session, jobs: Jobs, order: TargetOrder) -> None:
    jobs.enqueue(session, DROP_TARGET, f"{DROP_TARGET} {order.target.name}", order.to_json())
