"""HTTP of the upgrades resource, the call that starts one included."""

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.composition import Parts
from app.http.etag import etag
from app.http.openapi import problems
from app.http.pagination import Page, Paging
from app.http.problem_answers import prefix
from app.http.security_headers import page
from app.idempotency import Once, StoredAnswer
from app.ids import ModelId
from app.keys.access import Access, Caller
from app.problems import (
    BadRequest,
    Conflict,
    EmbedderWrong,
    Forbidden,
    GalleryStoreAway,
    IdTaken,
    InUse,
    KeyReused,
    NotFound,
    StoreBusy,
    StoreChanged,
    Unprocessable,
    WrongState,
)
from app.upgrades import states
from app.upgrades.compatible_request import CompatibleUpgrade
from app.upgrades.crossing_downloads import CrossingFormat
from app.upgrades.schemas import EXAMPLES, NewUpgrade, RowOrder, TrainingRow, Upgrade
from app.upgrades.score_translations import TranslatedScore
from app.upgrades.states import UpgradeState
from app.upgrades.training_rows import as_csv
from models.portable import ScoreRoute

router = APIRouter(prefix="/upgrades", tags=["upgrades"])
starting = APIRouter(prefix="/models", tags=["upgrades"])

_LOOK_SECONDS = 0.25
_ROWS_LIMIT = 100_000
_SETTLED = states.ENDED | {UpgradeState.READY, UpgradeState.ACTIVE, UpgradeState.ROLLED_BACK}


def _seen(
    upgrade: Annotated[str, Path(description="The id that starting it answered.")], caller: Caller, parts: Parts
) -> str:
    """The id of an upgrade that the sender's key sees. For any other, raises what is raised where there is none."""
    parts.upgrades.require_seen(upgrade, caller)
    return upgrade


UpgradeId = Annotated[str, Depends(_seen)]


def _require_asked(request: NewUpgrade, caller: Access) -> None:
    """Raises Forbidden where an upgrade would read or change what the sender's key does not see."""
    if not caller.bound:
        return
    if isinstance(request, CompatibleUpgrade):
        caller.require_unbound("A compatible model, whose queries search every gallery of the old model,")
    if request.galleries is None:
        raise Forbidden("This key is bound to galleries. Name in `galleries` which of them are to be upgraded.")
    for gallery in request.galleries:
        caller.require_gallery(gallery)
    for dataset in request.datasets:
        caller.require_dataset(dataset)


@router.get("", summary="List the upgrades", responses=problems(BadRequest))
def list_(paging: Paging, caller: Caller, parts: Parts) -> Page[Upgrade]:
    """Oldest first, a page at a time; those of galleries that the key is bound to."""

    def rows_after(cursor: str | None, limit: int) -> list[Upgrade]:
        return parts.upgrades.rows_after(cursor, limit, caller)

    return paging.page(rows_after, key=lambda upgrade: upgrade.id)


@router.get("/{upgrade}", summary="Look up an upgrade", responses=problems(NotFound))
def get(upgrade: UpgradeId, parts: Parts) -> Upgrade:
    """Its state, how far its step is, what was learned and proved, and why it was rejected or failed."""
    return parts.upgrades.get(upgrade)


@router.get(
    "/{upgrade}/events",
    summary="Follow an upgrade",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events"}, **problems(NotFound)},
)
async def events(upgrade: UpgradeId, parts: Parts) -> EventSourceResponse:
    """Server-sent events named `upgrade`: the upgrade whenever its state or progress changed, until it settles."""
    first = await run_sync(parts.upgrades.get, upgrade)

    async def changes() -> AsyncIterator[ServerSentEvent]:
        now, told = first, None
        while True:
            if (now.state, now.progress) != told:
                told = (now.state, now.progress)
                yield ServerSentEvent(now.model_dump_json(by_alias=True), event="upgrade")
            if now.state in _SETTLED:
                return
            await anyio.sleep(_LOOK_SECONDS)
            now = await run_sync(parts.upgrades.get, upgrade)

    return EventSourceResponse(changes())


@router.get(
    "/{upgrade}/report",
    summary="Read the report",
    responses={200: {"content": {"text/html": {}}}, **problems(NotFound, WrongState)},
    response_model=None,
)
async def report(upgrade: UpgradeId, request: Request, parts: Parts) -> Response | dict[str, object]:
    """What was learned, what was proved of each gallery, and the advice, the one thing to do first (`recommendation`):
    a page to read, or JSON to those that `Accept` application/json."""
    current = await run_sync(parts.upgrades.get, upgrade)
    if current.report is None:
        raise WrongState(f"Upgrade {upgrade} is {current.state}: there is no report before it has learned.")
    if "text/html" in request.headers.get("accept", ""):
        return page(await parts.report_pages.page(current, current.report, prefix(request)))
    return current.report


@router.get(
    "/{upgrade}/rows",
    summary="List suspicious rows",
    response_model=list[TrainingRow],
    responses={200: {"content": {"text/csv": {}}}, **problems(NotFound, WrongState)},
)
def rows(
    upgrade: UpgradeId,
    request: Request,
    parts: Parts,
    order: Annotated[
        RowOrder,
        Query(
            description="`suspect_label`: rows whose label is likely to be wrong. `old_model_poor`: rows on which the "
            "old model does badly. Both come of instance weights. `outlier`: rows unlike the others of their class."
        ),
    ] = "suspect_label",
    limit: Annotated[int, Query(ge=1, le=_ROWS_LIMIT, description="How many, at most.")] = 100,
) -> Response | list[TrainingRow]:
    """What training a compatible model found out about its rows, the most suspicious first: JSON, or a file to those
    that `Accept` text/csv."""
    rows = parts.downloads.rows(upgrade, order, limit)
    if "text/csv" in request.headers.get("accept", ""):
        headers = {"Content-Disposition": f'attachment; filename="{upgrade}-{order}.csv"'}
        return Response(as_csv(rows), headers=headers, media_type="text/csv")
    return rows


@router.get(
    "/{upgrade}/artifact",
    summary="Take the crossing away",
    response_class=FileResponse,
    responses={
        200: {
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                "application/json": {"schema": {"type": "object"}},
            }
        },
        **problems(NotFound, WrongState),
    },
)
def artifact(
    upgrade: UpgradeId,
    parts: Parts,
    format: Annotated[
        CrossingFormat,
        Query(
            description="`safetensors`: the transformation, what is pushed into the query, what predicts its error, "
            "what translates scores, and the card inside. `card`: the card alone, as JSON: from and to which model, "
            "and what was proved. `onnx`: the transformation as a graph."
        ),
    ] = CrossingFormat.SAFETENSORS,
) -> FileResponse:
    """The crossing of an upgrade that a gate accepted, as one file: `crosswalk apply` and the package
    `crosswalk-portable` use it without the service. Ranges can be asked for, and `ETag` is the file's SHA-256."""
    file = parts.crossing_downloads.file(upgrade, format)
    headers = {"ETag": etag(file.path)}
    return FileResponse(file.path, filename=file.name, media_type=file.media_type, headers=headers)


@router.get(
    "/{upgrade}/scores",
    summary="Translate a score",
    responses=problems(NotFound, WrongState, Unprocessable),
)
def scores(
    upgrade: UpgradeId,
    parts: Parts,
    old: Annotated[float | None, Query(allow_inf_nan=False, description="A score of the old model's search.")] = None,
    new: Annotated[float | None, Query(allow_inf_nan=False, description="Or one of the new model's search.")] = None,
    route: Annotated[
        ScoreRoute | None, Query(description="How the new search is answered; left out, as this upgrade is served.")
    ] = None,
) -> TranslatedScore:
    """What a threshold becomes: the score of the new search that as many items of the gallery reach as reach the one
    given in the old search, learned from held-out queries; or the other way round. Give `old` or `new`."""
    if (old is None) == (new is None):
        raise Unprocessable.at(
            "Give one score to translate: `old`, of the old model's search, or `new`, of the new one's.",
            parameter="old",
        )
    return parts.score_answers.translate(upgrade, old=old, new=new, route=route)


@router.post(
    "/{upgrade}/activate",
    summary="Switch to the new model",
    responses=problems(NotFound, WrongState, StoreChanged, StoreBusy, GalleryStoreAway),
)
def activate(upgrade: UpgradeId, caller: Caller, parts: Parts) -> Upgrade:
    """Points every gallery of the upgrade at its new generation, in one transaction; one of strategy `compatible` lets
    its model's queries search the galleries as they are. Doing it twice is harmless.

    A store of your own is caught up with once more, and its readers are switched in one step where it can do that;
    where it cannot, `statements` says what your application has to do."""
    return parts.upgrades.activate(upgrade, caller)


@router.post(
    "/{upgrade}/rollback",
    summary="Roll back",
    responses=problems(NotFound, WrongState, StoreChanged, StoreBusy, GalleryStoreAway),
)
def roll_back(upgrade: UpgradeId, caller: Caller, parts: Parts) -> Upgrade:
    """Points every gallery at the generation before, at once. What was written since is kept. The queries of a
    compatible model have no route any more; no gallery changes."""
    return parts.upgrades.roll_back(upgrade, caller)


@router.post("/{upgrade}/cancel", summary="Cancel", responses=problems(NotFound, WrongState))
def cancel(upgrade: UpgradeId, parts: Parts) -> Upgrade:
    """Stops an upgrade that is not active yet; every gallery stays as it was."""
    return parts.upgrades.cancel(upgrade)


@router.delete(
    "/{upgrade}", summary="Remove an upgrade", status_code=204, responses=problems(NotFound, WrongState, InUse)
)
def delete(upgrade: UpgradeId, parts: Parts) -> None:
    """Removes an upgrade that has ended, or was rolled back, with its report and all that it learned; a model that it
    trained stays registered, without its weights. One that is under way is cancelled first; one that a gallery is
    searched through, or an evaluation measures, stays: the answer names what needs it."""
    parts.upgrade_removal.delete(upgrade)


@starting.post(
    "/{model}/upgrade",
    summary="Start an upgrade from this model",
    status_code=202,
    response_model=Upgrade,
    responses=problems(NotFound, Conflict, IdTaken, KeyReused, Unprocessable, EmbedderWrong),
)
def start(
    model: ModelId,
    request: Annotated[NewUpgrade, Body(openapi_examples=EXAMPLES)],
    caller: Caller,
    parts: Parts,
    once: Once,
) -> Response:
    """`forward` learns the crossing to another model, proves it on your own data, and, where it is good enough,
    rewrites the galleries and switches to them; nothing is re-embedded. `compatible` trains a new model whose queries
    search the galleries as they are, and proves that. With `pairs`, what is learned from is chosen and embedded here,
    by the new model's embedder. Long work: `Location` names what to follow."""

    _require_asked(request, caller)
    parts.upgrades.require_texts(model, request)

    def work(session: Session) -> StoredAnswer:
        upgrade = parts.upgrades.start(session, model, request, caller)
        return StoredAnswer(upgrade, headers={"Location": f"/upgrades/{upgrade.id}"})

    return once.run(work)
