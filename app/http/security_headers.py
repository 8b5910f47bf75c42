"""What a browser is told about every answer, and the one way to answer with a page."""

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256

from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = "Content-Security-Policy"
_EVERY_ANSWER = (
    (_POLICY.lower().encode(), b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
_CACHE = b"cache-control"
_PAGE = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class SecurityHeaders:
    """Middleware: nothing is framed, sniffed, or told to others as a referrer, and data is not kept by caches.

    What has an entity tag may be kept, and is asked for anew; a route that sets one of these headers knows better.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = secured(message.get("headers", ()))
            await send(message)

        await self.app(scope, receive, with_headers)


def secured(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, and those of every answer that are not among them."""
    secured = list(headers)
    names = {name.lower() for name, _ in secured}
    secured += [(name, value) for name, value in _EVERY_ANSWER if name not in names]
    if _CACHE not in names:
        secured.append((_CACHE, b"private, no-cache" if b"etag" in names else b"no-store"))
    return secured


def page(html: str) -> HTMLResponse:
    """A page that loads from this service alone, and runs no scripts but those that it was made with."""
    hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in _INLINE_SCRIPT.findall(html)]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)])
    policy = f"{_PAGE}; script-src {scripts}" if "<script" in html else _PAGE
    return HTMLResponse(html, headers={_POLICY: policy})
