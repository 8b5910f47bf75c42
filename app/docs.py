"""Pages for people: the Swagger UI from packaged assets, what each problem means, and where to begin."""

from html import escape
from importlib import resources
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.openapi.docs import get_swagger_ui_html
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from app.composition import Parts
from app.http.openapi import problems
from app.http.problem_answers import prefix
from app.http.security_headers import page
from app.problems import NotFound, all_problems

ASSETS = "/assets/swagger"

router = APIRouter(tags=["service"])

_LANDING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Crosswalk</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="{prefix}{assets}/favicon.png">
<style>body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}
td {{ padding: 0 1.5rem 0 0 }}</style></head>
<body><h1>Crosswalk</h1>
<p>Upgrades the embedding model behind a vector search without re-embedding the gallery.</p>
<p><a href="{prefix}/docs">API, with examples to try</a> · <a href="{prefix}/openapi.json">OpenAPI</a> ·
<a href="{prefix}/metrics">metrics</a> · <a href="{prefix}/readyz">readiness</a></p>
<table>{rows}</table></body></html>"""


class Explanation(BaseModel):
    """The page about one kind of problem: what it means and what to do about it."""

    type: str
    title: str
    status: int
    remedy: str


_FILES = StaticFiles(directory=str(resources.files("fastapi_offline") / "static"))


@router.get(f"{ASSETS}/{{file}}", include_in_schema=False)
async def asset(file: str, request: Request) -> Response:
    """The Swagger UI's script and style, which `fastapi-offline` packages."""
    return await _FILES.get_response(file, request.scope)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document, with the path that this client finds the service under."""
    servers = {"servers": [{"url": prefix(request)}]} if prefix(request) else {}
    return JSONResponse(request.app.openapi() | servers)


@router.get("/", include_in_schema=False)
async def landing(parts: Parts, request: Request) -> HTMLResponse:
    states = await parts.readiness.parts()
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(state)}</td></tr>" for name, state in states.items())
    return page(_LANDING.format(prefix=prefix(request), assets=ASSETS, rows=rows))


@router.get("/docs", include_in_schema=False)
async def swagger_ui(request: Request) -> HTMLResponse:
    assets = f"{prefix(request)}{ASSETS}"
    html = get_swagger_ui_html(
        openapi_url=f"{prefix(request)}/openapi.json",
        title="Crosswalk: API",
        swagger_js_url=f"{assets}/swagger-ui-bundle.js",
        swagger_css_url=f"{assets}/swagger-ui.css",
        swagger_favicon_url=f"{assets}/favicon.png",
        # Swagger UI would show the document to a validator on the internet.
        swagger_ui_parameters={
            "validatorUrl": None,
            "tryItOutEnabled": True,
            "displayRequestDuration": True,
            "defaultModelsExpandDepth": 0,
        },
    )
    return page(bytes(html.body).decode())


@router.get("/problems/{slug}", summary="Explain a kind of problem", responses=problems(NotFound))
async def explain_problem(
    slug: Annotated[str, Path(description="The last part of a problem's `type`.", examples=[NotFound.slug])],
    request: Request,
) -> Explanation:
    """Answers the page that the `type` of a problem answer links to."""
    for kind in all_problems():
        if kind.slug == slug:
            return Explanation(
                type=prefix(request) + kind.type_uri(), title=kind.title, status=kind.status, remedy=kind.remedy
            )
    raise NotFound(f"There is no kind of problem {slug!r}.")
