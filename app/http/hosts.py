"""The names by which the service may be called.

A page of an attacker's own domain becomes, once that domain is made to point to 127.0.0.1 ("DNS rebinding"), of one
origin with a service there, and reads and writes it as its own. What gives it away is the Host header, which names the
attacker's domain.
"""

import ipaddress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.peers import is_loopback
from app.problems import UnknownHost

_NEVER_PUBLIC = {"localhost", "local", "internal", "test", "example", "invalid"}
"""Top-level domains that nobody can register a name in."""


class KnownHosts:
    """Middleware: refuses requests for hosts that are not `allowed`: names, `*.` and a domain, or `*` for any.

    Where `allowed` is None, connections to a loopback address take no name that someone can register, and those to
    other addresses take any. An address in the place of a name is always taken: no domain points to itself.
    """

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...] | None) -> None:
        self._app = app
        self._allowed = None if allowed is None else [name.lower() for name in allowed]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._takes(name := _name(scope), scope):
            await self._app(scope, receive, send)
            return
        raise UnknownHost(
            f"This service is not called {name[:200]!r}. Name it in CROSSWALK_ALLOWED_HOSTS if it is to be, as behind "
            "a proxy that passes the Host header on."
        )

    def _takes(self, name: str, scope: Scope) -> bool:
        if _is_address(name):
            return True
        if self._allowed is None:
            public = "." in name and name.rpartition(".")[2] not in _NEVER_PUBLIC
            server = scope["server"]
            return not (public and server is not None and is_loopback(server[0]))
        return any(
            pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))
            for pattern in self._allowed
        )


def _name(scope: Scope) -> str:
    """The Host header without its port, in lower case; an IPv6 address without its brackets."""
    host = Headers(scope=scope).get("host", "").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
