"""Whether a request comes from this machine itself, as a service without keys requires."""

import ipaddress
import re
from collections.abc import Iterator

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

_IN_SCOPE = "crosswalk.peer"
_FORWARDED_FOR = re.compile(r"for=\"?\[?([0-9a-fA-F.:]+)", re.IGNORECASE)


class RememberPeer:
    """Middleware, outside whatever believes a proxy's headers: keeps who really opened the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[_IN_SCOPE] = scope.get("client")
        await self.app(scope, receive, send)


def is_local(scope: Scope) -> bool:
    """Whether the connection was opened from a loopback address, and no proxy there says that it speaks for another.

    The headers of proxies are read to refuse, never to let in: anybody can write them.
    """
    peer = scope.get(_IN_SCOPE)
    return peer is not None and is_loopback(peer[0]) and all(map(is_loopback, _said_by_proxies(Headers(scope=scope))))


def is_loopback(address: str) -> bool:
    """Whether it is an address of this machine alone: 127.0.0.0/8, ::1, or the former written as IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def _said_by_proxies(headers: Headers) -> Iterator[str]:
    for name in ("x-forwarded-for", "x-real-ip"):
        for value in headers.getlist(name):
            yield from filter(None, (part.strip() for part in value.split(",")))
    for value in headers.getlist("forwarded"):
        yield from _FORWARDED_FOR.findall(value)
