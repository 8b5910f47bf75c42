"""Whether the service is alive, and whether it is ready to be sent requests."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.composition import Crosswalk, Parts
from app.http.openapi import problems
from app.http.telemetry import METRICS_MEDIA_TYPE, Metrics
from app.problems import Unavailable
from app.storage.disk import disk_problem, free_bytes
from app.storage.migrate import pending

router = APIRouter(tags=["service"])
log = structlog.get_logger(__name__)


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
def ready(parts: Parts) -> Ready:
    """For a load balancer: send no requests while this answers 503. `checks` names each part with its state."""
    checks = check(parts)
    if wrong := [name for name, state in checks.items() if state != "ok"]:
        raise Unavailable(f"Not ready: {', '.join(f'{name} {checks[name]}' for name in wrong)}.", checks=checks)
    return Ready(checks=checks)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """In Prometheus's text format."""
    measured: Metrics = request.app.state.metrics
    return Response(measured.exposition(), media_type=METRICS_MEDIA_TYPE)


def check(crosswalk: Crosswalk) -> dict[str, str]:
    """The state of every part that requests need: `ok`, or what is wrong."""
    checks: dict[str, Callable[[], str]] = {
        "database": lambda: _database(crosswalk),
        "migrations": lambda: "pending" if pending(crosswalk.database) else "ok",
        "store": lambda: _store(crosswalk),
        "queue": lambda: "ok" if crosswalk.doorbell.reachable() else "unreachable",
    }
    if (server := crosswalk.galleries.index_engine.server) is not None:
        checks["milvus"] = lambda: "ok" if server.answers() else "unreachable"
    return {name: _state(name, of, crosswalk.settings.data_dir) for name, of in checks.items()}


def _state(name: str, of: Callable[[], str], folder: Path) -> str:
    try:
        return of()
    except Exception as error:  # whatever it is, it is the answer: this part does not work
        log.warning("not ready", part=name, error=repr(error))
        disk = disk_problem(error, folder)
        return "failing" if disk is None else f"failing: {disk.title.lower()} ({disk.members.get('folder', '')})"


def _database(crosswalk: Crosswalk) -> str:
    with crosswalk.database.read() as session:
        session.connection().exec_driver_sql("SELECT 1")
    return "ok"


def _store(crosswalk: Crosswalk) -> str:
    free = free_bytes(crosswalk.settings.data_dir)
    if free < crosswalk.settings.disk_reserve_bytes:
        return f"disk full ({free} bytes are free where {crosswalk.settings.data_dir.resolve()} is)"
    with tempfile.TemporaryFile(dir=crosswalk.settings.data_dir) as probe:
        probe.write(b"ready?")
        probe.flush()
    return "ok"
