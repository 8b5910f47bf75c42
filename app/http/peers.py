"""Whether a request comes from this machine itself, as a service without keys requires."""

import ipaddress
import re
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.types import Scope

PEER = "crosswalk.peer"
"""The member of the ASGI scope that holds who really opened the connection, whatever a proxy's headers say."""

_NAME_CLIENTS = {
    "x-forwarded-for",
    "x-original-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "true-client-ip",
    "fastly-client-ip",
    "fly-client-ip",
}
_SAY_WHERE_IT_IS_SHOWN = {f"x-forwarded-{what}" for what in ("prefix", "host", "proto", "scheme", "port")}
"""Nothing of who asks."""
_TELL_OF_A_PROXY = ("x-forwarded", "x-original-", "cf-", "x-envoy-")
_MAY_BE_OF_A_PROXY = (b"x-", b"via", b"forwarded", b"cf-", b"true-client-ip", b"fastly-", b"fly-")
"""Beginnings of all the headers that are looked at, and of some that are not."""
_WITHOUT_PORT = re.compile(r"^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?$")


def is_local(scope: Scope) -> bool:
    """Whether the connection was opened from a loopback address, and no proxy there says that it speaks for another.

    The headers of proxies are read to refuse, never to let in: anybody can write them.
    """
    peer = scope.get(PEER)
    if peer is None or not _peer_is_loopback(peer[0]):
        return False
    if not any(name.startswith(_MAY_BE_OF_A_PROXY) for name, _ in scope["headers"]):
        return True
    return _proxies_speak_for_this_machine(Headers(scope=scope))


@lru_cache(maxsize=1_024)
def _peer_is_loopback(address: str) -> bool:
    return is_loopback(address)


def is_loopback(address: str) -> bool:
    """Whether it is an address of this machine alone: 127.0.0.0/8, ::1, or the former written as IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def _proxies_speak_for_this_machine(headers: Headers) -> bool:
    """Whether every client that proxies name is this machine; also where no proxy says that there is one.

    What is not understood, hides the client, or tells of a proxy that names none is no proof, and so is refused.
    """
    names = {name.lower() for name in headers}
    if "via" in names:
        return False
    named = [part for name in names & _NAME_CLIENTS for value in headers.getlist(name) for part in value.split(",")]
    elements = [element for value in headers.getlist("forwarded") for element in value.split(",")]
    if not all(is_loopback(part.strip()) for part in named) or not all(map(_is_for_this_machine, elements)):
        return False
    tells = any(name.startswith(_TELL_OF_A_PROXY) for name in names - _NAME_CLIENTS - _SAY_WHERE_IT_IS_SHOWN)
    return bool(named or elements) or not tells


def _is_for_this_machine(element: str) -> bool:
    """Whether an element of the header Forwarded (RFC 7239) names clients, and each is a loopback address."""
    pairs = [pair.partition("=") for pair in element.split(";")]
    clients = [value.strip().strip('"') for name, _, value in pairs if name.strip().lower() == "for"]
    return bool(clients) and all(is_loopback(_WITHOUT_PORT.sub(r"\1\2", client)) for client in clients)
