"""Whether the service is alive, and whether it is ready to be sent requests."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.composition import Parts
from app.http.openapi import problems
from app.http.telemetry import METRICS_MEDIA_TYPE, Metrics
from app.problems import Unavailable

router = APIRouter(tags=["service"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Every part that requests need is there, by name."""

    status: Literal["ready"] = "ready"
    checks: dict[str, str]


@router.get("/healthz", summary="Is the process alive?")
async def alive() -> Alive:
    """For a supervisor: restart the process when this stops answering."""
    return Alive()


@router.get("/readyz", summary="Is the service ready?", responses=problems(Unavailable))
async def ready(parts: Parts) -> Ready:
    """For a load balancer: send no requests while this answers 503. `checks` names each part with its state."""
    checks = await parts.readiness.parts()
    if wrong := [name for name, state in checks.items() if state != "ok"]:
        raise Unavailable(f"Not ready: {', '.join(f'{name} {checks[name]}' for name in wrong)}.", checks=checks)
    return Ready(checks=checks)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """In Prometheus's text format."""
    measured: Metrics = request.app.state.metrics
    # Not in a thread: what is measured is changed by the event loop, and a thread might have to be waited for.
    return Response(measured.exposition(), media_type=METRICS_MEDIA_TYPE)
