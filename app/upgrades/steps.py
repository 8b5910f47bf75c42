"""What the workers' steps do with upgrades: begin, read, move on, end."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy.orm import Session

from app.galleries import generations
from app.galleries.abandoning import abandon
from app.jobs.service import Jobs
from app.registry.service import Models
from app.storage.database import Database
from app.upgrades import rows
from app.upgrades.info import UpgradeInfo
from app.upgrades.request import FUSED
from app.upgrades.schemas import asked_by
from app.upgrades.states import Event, UpgradeState
from app.upgrades.tables import UpgradeRow
from app.upgrades.transform_units import TransformUnits


class UpgradeSteps:
    """The upgrades resource as its steps see it. What is given a session is part of the transaction that ends a job."""

    def __init__(self, database: Database, models: Models, jobs: Jobs, units: TransformUnits) -> None:
        self._database = database
        self._models = models
        self._jobs = jobs
        self._units = units

    def begin(self, upgrade: str) -> UpgradeInfo:
        """The upgrade as its first step finds it: training from now on. Raises NotFound."""
        with self._database.session() as session:
            row = rows.lock(session, upgrade)
            if row.state == UpgradeState.QUEUED:
                rows.move(row, Event.STARTED)
            return UpgradeInfo.of(row)

    def info(self, upgrade: str) -> UpgradeInfo:
        """The upgrade as it is now. Raises NotFound."""
        with self._database.read() as session:
            return UpgradeInfo.of(rows.find(session, upgrade))

    def advance(
        self,
        session: Session,
        upgrade: str,
        event: Event,
        next_step: str | None = None,
        *,
        learned: Mapping[str, Any] | None = None,
        proofs: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> None:
        """Moves an upgrade on, keeps what its step has to say, and enqueues what comes next.

        learned: what the report says of learning; proofs: the reports by gallery; both JSON. reason: why the upgrade
        ends here. What is None stays as it was. Raises NotFound and WrongState.
        """
        row = rows.lock(session, upgrade)
        rows.move(row, event)
        if learned is not None:
            row.learned = dict(learned)
        if proofs is not None:
            row.proofs = dict(proofs)
        if reason is not None:
            row.reason = reason
        if next_step is not None:
            self._jobs.enqueue(session, next_step, upgrade)

    def finish(
        self,
        session: Session,
        upgrade: str,
        indexes: Mapping[str, tuple[int, int, str]],
        in_stores: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """The indexes are published: ready, and switched at once where that was asked for.

        indexes: by gallery, the generation, the version of the items that its index holds, and the index's name.
        in_stores: by gallery whose items lie in a store of the user's own, the generation, which is indexed there, and
        which that store's readers were switched to where that was asked for.
        """
        row = rows.lock(session, upgrade)
        rows.move(row, Event.INDEXED)
        for name, (number, version, index) in indexes.items():
            generations.published(session, name, number, version, index)
        for name, number in in_stores.items():
            generations.ready_in_store(session, name, number)
        if _activate_if_asked(row):
            for name, number in [*((name, made[0]) for name, made in indexes.items()), *in_stores.items()]:
                generations.point(session, name, number)

    def finish_compatible(self, session: Session, upgrade: str, proofs: Mapping[str, Any]) -> None:
        """The gate accepted a trained model: it is compatible, ready, and in use at once where that was asked for.

        proofs: the reports by gallery, as JSON.
        """
        row = _proved(session, upgrade, proofs)
        self._models.prove_compatible(session, row.target, row.source)

    def finish_untouched(
        self, session: Session, upgrade: str, proofs: Mapping[str, Any], *, fused: bool = False
    ) -> None:
        """The gate accepted what leaves galleries as they are: ready, and in use at once where that was asked for.

        proofs: the reports by gallery, as JSON. fused: whether it accepted the crossing only fused with the old model's
        queries. No gallery is touched: search finds the new model's way to them.
        """
        row = _proved(session, upgrade, proofs)
        row.served_as = FUSED if fused else None

    def step_failed(self, session: Session, subject: str, reason: str) -> None:
        """Ends an upgrade whose step failed for good; every gallery is as it was.

        A subject that is no upgrade is passed over.
        """
        row = session.get(UpgradeRow, subject, with_for_update=True)
        if row is None:
            return
        rows.move(row, Event.FAILED)
        row.reason = reason
        abandon(session, self._jobs, subject)
        self._units.forget(session, subject)


def _proved(session: Session, upgrade: str, proofs: Mapping[str, Any]) -> UpgradeRow:
    """The upgrade whose galleries stay as they are, now that the gate has accepted it."""
    row = rows.lock(session, upgrade)
    rows.move(row, Event.PROVED)
    row.proofs = dict(proofs)
    _activate_if_asked(row)
    return row


def _activate_if_asked(row: UpgradeRow) -> bool:
    """Whether the upgrade, which has just become ready, was to be switched to at once; active then."""
    wanted = asked_by(row.request).activate == "when_accepted"
    if wanted:
        rows.move(row, Event.ACTIVATED)
    return wanted
