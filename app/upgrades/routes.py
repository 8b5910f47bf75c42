"""HTTP of the upgrades resource, the call that starts one included."""

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.composition import Parts
from app.idempotency import Answer, Once
from app.ids import ModelId
from app.openapi import problems
from app.pagination import Page, Paging
from app.problems import BadRequest, Conflict, KeyReused, NotFound, Unprocessable, WrongState
from app.upgrades import states
from app.upgrades.page import page_of
from app.upgrades.schemas import NewUpgrade, Upgrade
from app.upgrades.states import State

router = APIRouter(prefix="/upgrades", tags=["upgrades"])
starting = APIRouter(prefix="/models", tags=["upgrades"])

_LOOK_SECONDS = 0.25
_SETTLED = states.ENDED | {State.READY, State.ACTIVE, State.ROLLED_BACK}

UpgradeId = Annotated[str, Path(description="The id that starting it answered.")]


@router.get("", summary="List the upgrades", responses=problems(BadRequest))
def list_(paging: Paging, parts: Parts) -> Page[Upgrade]:
    """Oldest first, a page at a time."""
    return paging.page(parts.upgrades.rows_after, key=lambda upgrade: upgrade.id)


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
        now, said = first, None
        while True:
            if (now.state, now.progress) != said:
                said = (now.state, now.progress)
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
def report(upgrade: UpgradeId, request: Request, parts: Parts) -> Response | dict[str, object]:
    """What was learned, what was proved of each gallery, and the advice: a page to read, or JSON to those that `Accept`
    application/json."""
    found = parts.upgrades.get(upgrade)
    if found.report is None:
        raise WrongState(f"Upgrade {upgrade} is {found.state}: there is no report before it has learned.")
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(page_of(found))
    return found.report


@router.post("/{upgrade}/activate", summary="Switch to the new model", responses=problems(NotFound, WrongState))
def activate(upgrade: UpgradeId, parts: Parts) -> Upgrade:
    """Points every gallery of the upgrade at its new generation, in one transaction. Doing it twice is harmless."""
    return parts.upgrades.activate(upgrade)


@router.post("/{upgrade}/rollback", summary="Roll back", responses=problems(NotFound, WrongState))
def roll_back(upgrade: UpgradeId, parts: Parts) -> Upgrade:
    """Points every gallery at the generation before, at once. What was written since is kept."""
    return parts.upgrades.roll_back(upgrade)


@router.post("/{upgrade}/cancel", summary="Cancel", responses=problems(NotFound, WrongState))
def cancel(upgrade: UpgradeId, parts: Parts) -> Upgrade:
    """Stops an upgrade that is not active yet; every gallery stays as it was."""
    return parts.upgrades.cancel(upgrade)


@starting.post(
    "/{model}/upgrade",
    summary="Start an upgrade from this model",
    status_code=202,
    response_model=Upgrade,
    responses=problems(NotFound, Conflict, KeyReused, Unprocessable),
)
def start(model: ModelId, asked: NewUpgrade, parts: Parts, once: Once) -> Response:
    """Learns the crossing to another model, proves it on your own data, and, where it is good enough, rewrites the
    galleries and switches to them; nothing is re-embedded. Long work: `Location` names what to follow."""

    def work(session: Session) -> Answer:
        upgrade = parts.upgrades.start(session, model, asked)
        return Answer(upgrade, headers={"Location": f"/upgrades/{upgrade.id}"})

    return once.run(work)
