"""A service with keys, and requests that carry them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount

from app.keys.access import KeyScope
from app.keys.schemas import NewKey
from app.keys.service import Keys
from tests.waiting import wait_until

OPEN = {
    "GET /",
    "GET /healthz",
    "GET /readyz",
    "GET /docs",
    "GET /openapi.json",
    "GET /problems/{slug}",
    "GET /assets/swagger/{file}",
}
"""What anybody may ask, said here once more by hand."""


@dataclass(frozen=True)
class KeyedService:
    """A client without a key, and what makes keys on the service's own database."""

    client: httpx.Client
    keys: Keys

    def key(self, *scopes: KeyScope, galleries: list[str] | None = None, datasets: list[str] | None = None) -> str:
        """A new key, which the service knows within a second."""
        new = NewKey(name="test", scopes=list(scopes), galleries=galleries, datasets=datasets)
        return self.keys.create(new).key

    def knows(self, key: str) -> None:
        """Returns once the service knows a key, and so whatever happened to keys before."""
        wait_until(lambda: self.ask(None, "GET", "/models").status_code == 401, "the service to need a key")
        wait_until(lambda: self.ask(key, "GET", "/models").is_success, "the service to know a key")

    def ask(self, key: str | None, method: str, path: str, **given: object) -> httpx.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return self.client.request(method, path, headers=headers, **given)  # type: ignore[arg-type]


def routes_of(application: FastAPI) -> list[tuple[str, str]]:
    """Method and template of every route that the application has, those out of its documentation too."""
    return sorted(set(_walk(application.routes)))


def _walk(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        if (included := getattr(route, "original_router", None)) is not None:
            yield from _walk(included.routes)
        elif isinstance(route, Mount):
            yield "GET", f"{route.path}/{{file}}"
        else:
            for method in getattr(route, "methods", None) or ():
                yield method, str(getattr(route, "path_format", None))
