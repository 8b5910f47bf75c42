"""Which web pages may use the service: whom a browser lets read, and which pages may not even write.

A service without keys that listens on loopback is reached by every page that its owner opens, and a page's plain POST
asks no permission before. So what changes anything is refused where a browser names a foreign page as its origin.
"""

from urllib.parse import urlsplit

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.problems import ForeignOrigin

_SEARCH = "/search"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_READING = {"GET", "HEAD", "OPTIONS"}
_EXPOSED = (
    "ETag",
    "Location",
    "Retry-After",
    "X-Request-Id",
    "Idempotent-Replayed",
    "Content-Disposition",
    "RateLimit",
    "RateLimit-Policy",
    "WWW-Authenticate",
)
_PORTS = {"http": 80, "https": 443}


class CrossOrigin:
    """Middleware: CORS for the pages of `origins`, or, where that is None, for searching from every page.

    A request that changes anything is refused unless its Origin is this service's own or one of those.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...] | None) -> None:
        self._app = app
        self._anyone_searches = origins is None
        self._origins = frozenset(origins or ())
        self._search = _cors(app, ("*",) if origins is None else origins)
        self._others = _cors(app, origins or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or all(name != b"origin" for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers["origin"]
        searching = get_route_path(scope) == _SEARCH
        preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        known = _own(origin, headers.get("host", "")) or not self._origins.isdisjoint({origin, "*"})
        open_to_all = searching and (self._anyone_searches or not preflight)
        if not known and not open_to_all and (preflight or scope["method"] not in _READING):
            raise ForeignOrigin(
                f"The web page at {origin[:200]} is neither this service's own nor one of its `cors_origins`. Name it "
                "in CROSSWALK_CORS_ORIGINS to let it in.",
                headers={"Vary": "Origin"},
            )
        await (self._search if searching else self._others)(scope, receive, send)


def _cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    if not origins:
        return app
    return _Cors(app, origins, _METHODS, allow_headers=["*"], expose_headers=_EXPOSED)


class _Cors(CORSMiddleware):
    """Starlette's, whose refusals are problems and not plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code >= 400:
            refused = bytes(response.body).decode().removeprefix("Disallowed CORS ")
            raise ForeignOrigin(
                f"A web page of another origin may not ask so; what is wrong is the {refused}. It may use "
                f"{', '.join(_METHODS)}, and no private network.",
                headers={"Vary": "Origin"},
            )
        return response


def _own(origin: str, host: str) -> bool:
    """Whether a page of this origin came from the host that it now asks."""
    try:
        page = urlsplit(origin)
        ours = urlsplit(f"//{host}")
        port = _PORTS.get(page.scheme)
        return port is not None and (page.hostname, page.port or port) == (ours.hostname, ours.port or port)
    except ValueError:  # a port that is no number
        return False
