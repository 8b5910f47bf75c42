"""The names by which the service may be called.

A page of an attacker's own domain becomes, once that domain is made to point to 127.0.0.1 ("DNS rebinding"), of one
origin with a service there, and reads and writes it as its own. What gives it away is the Host header, which names the
attacker's domain.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.peers import is_loopback
from app.problems import UnknownHost

_NEVER_PUBLIC = {"localhost", "local", "internal", "test", "example", "invalid"}
"""Top-level domains that nobody can register a name in."""
_REMEMBERED, _LONGEST_REMEMBERED = 256, 256  # Host headers, and bytes of one


class HostNames:
    """Tells which Host headers are taken: those that are `allowed`, which are names, `*.` and a domain, or `*` for any.

    Where `allowed` is None, connections to a loopback address take no name that someone can register, and those to
    other addresses take any. An address in the place of a name is always taken: no domain points to itself.
    """

    def __init__(self, allowed: tuple[str, ...] | None) -> None:
        self._allowed = None if allowed is None else [name.lower() for name in allowed]
        self._remembered = lru_cache(_REMEMBERED)(self._looked_up)

    def take(self, host: bytes, server: tuple[str, int | None] | None) -> bool:
        """Whether a Host header is taken on the address, with its port, that the connection was made to."""
        look_up = self._remembered if len(host) <= _LONGEST_REMEMBERED else self._looked_up
        return look_up(host, None if server is None else server[0])

    def _looked_up(self, host: bytes, server: str | None) -> bool:
        name = _name(host)
        if _is_address(name):
            return True
        if self._allowed is None:
            public = "." in name and name.rpartition(".")[2] not in _NEVER_PUBLIC
            return not (public and server is not None and is_loopback(server))
        return any(
            pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))
            for pattern in self._allowed
        )


class KnownHosts:
    """Middleware: refuses requests for hosts that are not taken."""

    def __init__(self, app: ASGIApp, hosts: HostNames) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._hosts.take(host := host_of(scope["headers"]), scope["server"]):
            await self._app(scope, receive, send)
            return
        name = _name(host)
        raise UnknownHost(
            f"This service is not called {name[:200]!r}. Name it in CROSSWALK_ALLOWED_HOSTS if it is to be, as behind "
            "a proxy that passes the Host header on."
        )


def host_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The Host header, the first if there are several; empty where there is none."""
    return next((value for name, value in headers if name == b"host"), b"")


def _name(header: bytes) -> str:
    """A Host header without its port, in lower case; an IPv6 address without its brackets."""
    host = header.decode("latin-1").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
