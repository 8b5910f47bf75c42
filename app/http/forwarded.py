"""Behind a proxy: which host, scheme and path prefix the client used, as a trusted proxy says."""

import re
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.http.peers import PEER
from app.problems import BadRequest

_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


class Forwarded:
    """Middleware: takes X-Forwarded-Prefix, -Host, -Proto and -For of `trusted` peers for what they say.

    `root_path` is the prefix where no proxy names one. The proxy strips it from the path; every path that the service
    answers (Location, links of pages, a problem's `type` and `instance`) has it. From peers that are not trusted these
    headers are passed over, since any client can write them.
    """

    def __init__(self, app: ASGIApp, trusted: tuple[str, ...], root_path: str) -> None:
        peers = ["*"] if "*" in trusted else list(trusted)
        self._scheme_and_client: Any = ProxyHeadersMiddleware(self._prefixed, trusted_hosts=peers)  # type: ignore[arg-type]
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[PEER] = scope["client"]
        scope["root_path"] = self._root_path
        client = scope["client"]
        if (None if client is None else client[0]) not in self._scheme_and_client.trusted_hosts:
            await self._prefixed(scope, receive, send)
            return
        if client is not None:
            _hear(scope)
        await self._scheme_and_client(scope, receive, send)

    async def _prefixed(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = scope["root_path"]
        if not prefix:
            await self._app(scope, receive, send)
            return
        scope["path"] = prefix + scope["path"]
        scope["raw_path"] = prefix.encode() + scope["raw_path"]

        async def with_prefix(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if (location := headers.get("location", "")).startswith("/"):
                    headers["location"] = prefix + location
            await send(message)

        await self._app(scope, receive, with_prefix)


def _hear(scope: Scope) -> None:
    """Sets the prefix and the host that the proxy names. Raises BadRequest where one could be none."""
    headers = Headers(scope=scope)
    if prefixes := headers.getlist("x-forwarded-prefix"):
        # Proxies in a row write theirs one after another; joined they are what was stripped altogether.
        named = [one.strip() for one in ",".join(prefixes).split(",")]
        if not all(_PREFIX.fullmatch(one) for one in named):
            raise BadRequest(
                "X-Forwarded-Prefix is no path: a proxy names it like /search-api, with no host and no dots."
            )
        scope["root_path"] = "".join(one.rstrip("/") for one in named)
    if host := headers.get("x-forwarded-host", "").partition(",")[0].strip():
        if not _HOST.fullmatch(host):
            raise BadRequest("X-Forwarded-Host is no host name: a proxy names it like vectors.example.org:8443.")
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        scope["headers"] = [*others, (b"host", host.encode())]
