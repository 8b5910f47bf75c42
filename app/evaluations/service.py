"""What can be done with evaluations: start, follow, remove; and what their step reports back."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.evaluations.checks import EvaluationChecks
from app.evaluations.schemas import AnyEvaluation, ChainEvaluation, Evaluation, asked_by, kind_of
from app.evaluations.states import ENDED, EvaluationState
from app.evaluations.tables import EvaluationRow
from app.http.pagination import rows_seen
from app.jobs.schemas import Progress
from app.jobs.service import Jobs
from app.jobs.values import sortable_id
from app.keys.access import EVERYTHING, Access
from app.problems import NotFound
from app.storage.database import Database

STEP = "evaluate_models"


class Evaluations:
    """The evaluations resource."""

    def __init__(self, database: Database, checks: EvaluationChecks, jobs: Jobs) -> None:
        self._database = database
        self._checks = checks
        self._jobs = jobs

    def start(self, session: Session, request: AnyEvaluation, caller: Access) -> Evaluation:
        """Starts an evaluation inside the caller's transaction; its job is rung after the commit.

        Raises NotFound for what is not there, NoRoute where no crossing leads from one space to the other, and
        Unprocessable for what cannot be measured.
        """
        whole = self._checks.whole(session, request, caller)
        # Ids sort by time of creation, so that listing in order of ids is listing in order of age.
        row = EvaluationRow(
            id=f"eva-{sortable_id()}", request=whole.model_dump(mode="json"), state=EvaluationState.QUEUED
        )
        session.add(row)
        session.flush()
        self._jobs.enqueue(session, STEP, row.id)
        return self._wire(session, row)

    def get(self, evaluation: str) -> Evaluation:
        """One evaluation, as it is answered. Raises NotFound."""
        with self._database.read() as session:
            return self._wire(session, _found(session.get(EvaluationRow, evaluation), evaluation))

    def require_seen(self, evaluation: str, caller: Access) -> None:
        """Raises NotFound where there is no such evaluation, or none that the caller's key sees, in the same words."""
        if caller.bound:
            with self._database.read() as session:
                if not _sees(caller, _found(session.get(EvaluationRow, evaluation), evaluation)):
                    raise _no_such(evaluation)

    def rows_after(self, cursor: str | None, limit: int, caller: Access = EVERYTHING) -> list[Evaluation]:
        """Up to `limit` evaluations that the caller's key sees, oldest first, after the one named by the cursor."""

        def all_after(after: str | None, most: int) -> list[EvaluationRow]:
            query = select(EvaluationRow).order_by(EvaluationRow.id).limit(most)
            return list(session.scalars(query.where(EvaluationRow.id > after) if after else query))

        with self._database.read() as session:
            page = rows_seen(all_after, lambda row: row.id, lambda row: _sees(caller, row))
            return [self._wire(session, row) for row in page(cursor, limit)]

    def delete(self, evaluation: str) -> None:
        """Removes an evaluation; one that has not ended is stopped. Raises NotFound."""
        with self._database.session() as session:
            row = self._locked(session, evaluation)
            self._jobs.request_cancel(session, row.id)
            session.delete(row)

    def using_upgrade(self, session: Session, upgrade: str) -> list[str]:
        """The evaluations under way that measure an upgrade's crossing, for whoever would delete it."""
        under_way = session.scalars(select(EvaluationRow).where(EvaluationRow.state.not_in(ENDED)))
        return [f"evaluation {row.id}" for row in under_way if upgrade in _crossings(asked_by(row.request))]

    # What the step of an evaluation does.

    def begin(self, evaluation: str) -> AnyEvaluation:
        """The request of an evaluation whose step begins, which is marked as running. Raises NotFound."""
        with self._database.session() as session:
            row = self._locked(session, evaluation)
            row.state = EvaluationState.RUNNING
            return asked_by(row.request)

    def finish(self, session: Session, evaluation: str, result: dict[str, Any]) -> None:
        """Keeps what was found, in the transaction that ends the job. result: JSON."""
        row = self._locked(session, evaluation)
        row.state, row.result = EvaluationState.DONE, result

    def step_failed(self, session: Session, subject: str, reason: str) -> None:
        """Ends an evaluation whose step failed for good. A subject that is none is passed over."""
        row = session.get(EvaluationRow, subject, with_for_update=True)
        if row is not None:
            row.state, row.reason = EvaluationState.FAILED, reason

    def _locked(self, session: Session, evaluation: str) -> EvaluationRow:
        return _found(session.get(EvaluationRow, evaluation, with_for_update=True), evaluation)

    def _wire(self, session: Session, row: EvaluationRow) -> Evaluation:
        request = asked_by(row.request)
        progress = None if row.state in ENDED else self._jobs.progress(session, row.id)
        return Evaluation(
            id=row.id,
            kind=kind_of(request),
            request=request,
            state=EvaluationState(row.state),
            progress=Progress(**progress) if progress else None,
            result=row.result,
            reason=row.reason,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _crossings(request: AnyEvaluation) -> set[str | None]:
    """The upgrades whose crossings are applied."""
    if isinstance(request, ChainEvaluation):
        return set()
    return {request.via, request.against.via if request.against else None}


def _found(row: EvaluationRow | None, evaluation: str) -> EvaluationRow:
    if row is None:
        raise _no_such(evaluation)
    return row


def _no_such(evaluation: str) -> NotFound:
    return NotFound(f"There is no evaluation {evaluation!r}. GET /evaluations lists them.")


def _sees(caller: Access, row: EvaluationRow) -> bool:
    """Whether a key sees an evaluation: it does where it sees every gallery and dataset that was asked about."""
    if not caller.bound:
        return True
    request = asked_by(row.request)
    return all(map(caller.sees_gallery, request.galleries)) and all(map(caller.sees_dataset, request.datasets))
