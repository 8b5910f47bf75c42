"""Every route of the gateway, in the order in which they are asked.

FastAPI works out the parameters of a route when the first request is matched against it, once for each inclusion of its
router, which takes a tenth of a second for all of them. They are included here, once for a process, and not in each
application that it makes.
"""

from collections.abc import Sequence

from fastapi import APIRouter, Depends
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app import docs, health
from app.backfills.routes import router as backfills
from app.datasets.routes import router as datasets
from app.evaluations.routes import router as evaluations
from app.galleries.choice_routes import router as choices
from app.galleries.item_routes import router as items
from app.galleries.routes import router as galleries
from app.http.request_checks import RequestChecks
from app.keys.admission import refuse_unruled
from app.keys.routes import router as keys
from app.old_space.routes import router as old_space
from app.registry.routes import router as models
from app.search.routes import router as search
from app.side_information.routes import router as side_information
from app.upgrades.routes import router as upgrades
from app.upgrades.routes import starting


def checks() -> list[Dependency]:
    """What every route depends on: that a rule says who may ask it, and that nothing of a request is passed over."""
    return [Depends(refuse_unruled), Depends(RequestChecks())]


def operation_id(route: APIRoute) -> str:
    """How an operation is named in the OpenAPI document."""
    return f"{route.tags[0]}_{route.name.rstrip('_')}" if route.tags else route.name


def _included() -> Sequence[BaseRoute]:
    together = APIRouter(dependencies=checks(), generate_unique_id_function=operation_id)
    for router in (
        search,  # first, since routers are asked in turn, and little is called as often
        models,
        galleries,
        items,
        choices,
        backfills,
        datasets,
        side_information,
        starting,
        upgrades,
        evaluations,
        old_space,
        keys,
        health.router,
        docs.router,
    ):
        together.include_router(router)
    return tuple(together.routes)


def make_ready() -> None:
    """Has FastAPI make of every route what answers with it, which it does at the first request otherwise."""
    for route in ROUTES:
        route.matches({"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []})


ROUTES = _included()
