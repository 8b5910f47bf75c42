"""HTTP of the evaluations resource."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Response
from sqlalchemy.orm import Session

from app.composition import Parts
from app.evaluations.schemas import EXAMPLES, Evaluation, NewEvaluation
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.idempotency import Once, StoredAnswer
from app.keys.access import Caller
from app.problems import BadRequest, KeyReused, NoRoute, NotFound, Unprocessable

router = APIRouter(prefix="/evaluations", tags=["evaluations"])


def _seen(
    evaluation: Annotated[str, Path(description="The id that starting it answered.")], caller: Caller, parts: Parts
) -> str:
    """The id of an evaluation that the sender's key sees. For any other, raises what is raised where there is none."""
    parts.evaluations.require_seen(evaluation, caller)
    return evaluation


EvaluationId = Annotated[str, Depends(_seen)]


@router.post(
    "",
    summary="Start an evaluation",
    status_code=202,
    response_model=Evaluation,
    responses=problems(NotFound, NoRoute, KeyReused, Unprocessable),
)
def start(
    request: Annotated[NewEvaluation, Body(openapi_examples=EXAMPLES)], caller: Caller, parts: Parts, once: Once
) -> Response:
    """A **pair**: how well queries of one model search vectors of another, over a dataset's rows or a gallery, and
    whether that is better than another pair, slice by slice. Where the two models differ, the vectors searched go
    through the crossing that an upgrade learned; the result names it. A **chain** (`models`): the compatibility matrix
    of several versions, its average compatibility and average accuracy. Long work: `Location` names what to follow."""

    for dataset in request.datasets:
        caller.require_dataset(dataset)
    for gallery in request.galleries:
        caller.require_gallery(gallery)
    for upgrade in request.upgrades:
        parts.upgrades.require_seen(upgrade, caller)

    def work(session: Session) -> StoredAnswer:
        evaluation = parts.evaluations.start(session, request, caller)
        return StoredAnswer(evaluation, headers={"Location": f"/evaluations/{evaluation.id}"})

    return once.run(work)


@router.get("", summary="List the evaluations", responses=problems(BadRequest))
def list_(paging: Paging, caller: Caller, parts: Parts) -> Page[Evaluation]:
    """Lists evaluations, oldest first, a page at a time; those of galleries and datasets that the key is bound to."""

    def rows_after(cursor: str | None, limit: int) -> list[Evaluation]:
        return parts.evaluations.rows_after(cursor, limit, caller)

    return paging.page(rows_after, key=lambda evaluation: evaluation.id)


@router.get("/{evaluation}", summary="Look up an evaluation", responses=problems(NotFound))
def get(evaluation: EvaluationId, parts: Parts) -> Evaluation:
    """How far it is; once it is done, every figure with its interval; or why it failed."""
    return parts.evaluations.get(evaluation)


@router.delete("/{evaluation}", summary="Remove an evaluation", status_code=204, responses=problems(NotFound))
def delete(evaluation: EvaluationId, parts: Parts) -> None:
    """Removes it with its result; one that has not ended is stopped."""
    parts.evaluations.delete(evaluation)
