"""HTTP of backfills that are run."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from sqlalchemy.orm import Session

from app.backfills.schemas import BackfillRun, NewBackfillRun
from app.composition import Parts
from app.http.openapi import problems
from app.idempotency import Once, StoredAnswer
from app.ids import GalleryId
from app.problems import (
    Conflict,
    EmbedderWrong,
    GalleryStoreAway,
    ItemsElsewhere,
    KeyReused,
    NotFound,
    StoreChanged,
    Unprocessable,
    WrongState,
)

router = APIRouter(prefix="/galleries", tags=["galleries"])

RunId = Annotated[str, Path(description="The id that starting it answered.")]


@router.post(
    "/{gallery}/backfill",
    summary="Re-embed items",
    status_code=202,
    response_model=BackfillRun,
    responses=problems(
        NotFound,
        Conflict,
        WrongState,
        ItemsElsewhere,
        StoreChanged,
        KeyReused,
        Unprocessable,
        EmbedderWrong,
        GalleryStoreAway,
    ),
)
def re_embed_items(gallery: GalleryId, request: NewBackfillRun, parts: Parts, once: Once) -> Response:
    """Embeds transformed items with the new model's embedder, the most useful first, and stores their real vectors as
    they come, until the budget is spent or none is left. An item that changes meanwhile is left as it was written.
    Where the items lie in a store of your own, their texts are read there, and their vectors take the place of the
    transformed ones; what the old model made stays.
    Long work: `Location` names what to follow."""
    parts.backfill_runs.require_work(gallery, request)

    def work(session: Session) -> StoredAnswer:
        run = parts.backfill_runs.start(session, gallery, request)
        return StoredAnswer(run, headers={"Location": f"/galleries/{gallery}/backfills/{run.id}"})

    return once.run(work)


@router.get("/{gallery}/backfills/{run}", summary="Look up a backfill", responses=problems(NotFound))
def backfill_run(gallery: GalleryId, run: RunId, parts: Parts) -> BackfillRun:
    """How far it is, what it has spent, and how it ended."""
    return parts.backfill_runs.get(gallery, run)


@router.post("/{gallery}/backfills/{run}/cancel", summary="Stop a backfill", responses=problems(NotFound, WrongState))
def cancel_backfill(gallery: GalleryId, run: RunId, parts: Parts) -> BackfillRun:
    """Stops it; what was re-embedded stays."""
    return parts.backfill_runs.cancel(gallery, run)
