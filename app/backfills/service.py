"""What can be done with backfills that are run: start, follow, cancel; and what their step reports back."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.backfills.schemas import UNENDED, BackfillRun, BackfillState, NewBackfillRun
from app.backfills.tables import BackfillRunRow
from app.embedders.spending import forget_spending, spent_by
from app.galleries import generations
from app.galleries.backfill import Backfills, transformed_generation
from app.galleries.service import Galleries
from app.jobs.schemas import Progress
from app.jobs.service import Jobs
from app.jobs.values import sortable_id
from app.problems import Conflict, NotFound, WrongState
from app.storage.database import Database
from app.upgrades.embedding_checks import EmbeddingChecks
from app.upgrades.schemas import EmbeddingSpent

STEP = "backfill"


@dataclass(frozen=True)
class BackfillOrder:
    """What the step of a backfill is to do."""

    id: str
    gallery: str
    generation: int
    asked: NewBackfillRun


class BackfillRuns:
    """The backfills that workers do with a model's embedder."""

    def __init__(
        self, database: Database, galleries: Galleries, backfills: Backfills, checks: EmbeddingChecks, jobs: Jobs
    ) -> None:
        self._database = database
        self._galleries = galleries
        self._backfills = backfills
        self._checks = checks
        self._jobs = jobs

    def start(self, session: Session, gallery: str, request: NewBackfillRun) -> BackfillRun:
        """Starts one inside the caller's transaction; its job is rung after the commit.

        Raises NotFound; WrongState where the active generation is not transformed; Conflict where another run is under
        way; and Unprocessable where there is no embedder, or no price.
        """
        info = self._galleries.info(gallery, session)
        generation = transformed_generation(info)
        self._checks.embeddable(session, generation.space.model, request.budget, "")
        generations.lock(session, [gallery])  # Two that start at the same moment take turns.
        running = select(BackfillRunRow).where(BackfillRunRow.gallery == gallery, BackfillRunRow.state.in_(UNENDED))
        if (other := session.scalars(running).first()) is not None:
            raise Conflict(
                f"Backfill {other.id} of gallery {gallery!r} is {other.state}. Wait for it, or POST "
                f"/galleries/{gallery}/backfills/{other.id}/cancel."
            )
        row = BackfillRunRow(
            id=f"bf-{sortable_id()}",
            gallery=gallery,
            generation=generation.number,
            request=request.model_dump(mode="json"),
            state=BackfillState.QUEUED,
        )
        session.add(row)
        session.flush()
        self._jobs.enqueue(session, STEP, row.id)
        return self._wire(session, row)

    def require_work(self, gallery: str, request: NewBackfillRun) -> None:
        """What takes too long for a transaction: raises NotFound, WrongState where the items of a gallery cannot be put
        into the order that is asked for or a model that embeds by itself is not trained yet; Unprocessable where they
        have no texts, or images where these are embedded; and of a gallery in a store of the user's own, ItemsElsewhere
        for an order that is not known there, and GalleryStoreAway or StoreChanged where the store cannot be read."""
        model = self._backfills.require_order(gallery, request.order)
        self._checks.have_texts(model, [gallery], request.text)

    def get(self, gallery: str, run: str) -> BackfillRun:
        """Raises NotFound."""
        with self._database.read() as session:
            return self._wire(session, _of(session.get(BackfillRunRow, run), gallery, run))

    def cancel(self, gallery: str, run: str) -> BackfillRun:
        """Stops one; what was re-embedded stays. Raises NotFound, and WrongState where it has ended otherwise."""
        with self._database.session() as session:
            row = _of(session.get(BackfillRunRow, run, with_for_update=True), gallery, run)
            if row.state not in (*UNENDED, BackfillState.CANCELLED):
                raise WrongState(f"Backfill {run} is {row.state}.", state=row.state)
            row.state = BackfillState.CANCELLED
            self._jobs.request_cancel(session, run)
            return self._wire(session, row)

    def leave(self, session: Session, gallery: str) -> None:
        """Stops the runs of a gallery that is being deleted, and forgets what they spent, in the transaction that
        deletes it and them."""
        runs = select(BackfillRunRow.id).where(BackfillRunRow.gallery == gallery).with_for_update()
        for run in session.scalars(runs).all():
            if not self._jobs.request_cancel(session, run):
                self._jobs.forget(session, run)
            forget_spending(session, run)

    # What the step of a backfill does.

    def begin(self, run: str) -> BackfillOrder:
        """What a run is to do, which is marked as running. Raises NotFound."""
        with self._database.session() as session:
            row = _of(session.get(BackfillRunRow, run, with_for_update=True), None, run)
            if row.state == BackfillState.QUEUED:
                row.state = BackfillState.RUNNING
            return BackfillOrder(run, row.gallery, row.generation, NewBackfillRun.model_validate(row.request))

    def finish(self, session: Session, run: str, reason: str) -> None:
        """Ends a run well, in the transaction that ends its job. reason: what it came to."""
        row = _of(session.get(BackfillRunRow, run, with_for_update=True), None, run)
        row.state, row.reason = BackfillState.DONE, reason

    def step_failed(self, session: Session, subject: str, reason: str) -> None:
        """Ends a run whose step failed for good. A subject that is none, or has ended, is passed over."""
        row = session.get(BackfillRunRow, subject, with_for_update=True)
        if row is not None and row.state in UNENDED:
            row.state, row.reason = BackfillState.FAILED, reason

    def _wire(self, session: Session, row: BackfillRunRow) -> BackfillRun:
        request = NewBackfillRun.model_validate(row.request)
        progress = self._jobs.progress(session, row.id) if row.state in UNENDED else None
        spent = spent_by(session, row.id)
        return BackfillRun(
            id=row.id,
            gallery=row.gallery,
            generation=row.generation,
            order=request.order,
            text=request.text,
            budget=request.budget,
            spent=None if spent is None else EmbeddingSpent.of(spent),
            state=BackfillState(row.state),
            reason=row.reason,
            progress=Progress(**progress) if progress else None,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _of(row: BackfillRunRow | None, gallery: str | None, run: str) -> BackfillRunRow:
    if row is None or gallery not in (None, row.gallery):
        raise NotFound(f"There is no backfill {run!r} of gallery {gallery!r}.")
    return row
