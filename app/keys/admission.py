"""Who is let in: decided from a request's first lines, before its body is read."""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

import structlog
from fastapi import Request
from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.peers import is_local
from app.keys.access import EVERYTHING, IN_SCOPE, Access
from app.keys.limits import KeyLimits
from app.keys.ring import KeyRing
from app.keys.rules import Rule, Rules
from app.keys.valid_keys import ValidKey, ValidKeys
from app.problems import BadRequest, Forbidden, NotFound, Problem, Unauthorized
from app.redaction import holds_key

_RULE = "crosswalk.rule"
_NAMES_OF_KEYS = {b"key", b"api_key", b"api-key", b"apikey", b"access_token", b"token", b"authorization"}
FIRST_KEY = "crosswalk keys create --name operator --scopes admin"


class Admission:
    """Middleware: refuses whoever may not do what is asked, and tells the route by `Caller` what its sender may.

    While no key was ever made, this machine alone is answered, and may do everything. Once one was, every request
    needs one, but for the routes that `rules` leaves open.
    """

    def __init__(self, app: ASGIApp, rules: Rules, limits: KeyLimits) -> None:
        self._app = app
        self._rules = rules
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = get_route_path(scope)
        rule = self._rules.of_request(scope["method"], path)
        scope[_RULE] = rule
        _refuse_keys_in_urls(scope)
        ring: KeyRing = scope["app"].state.crosswalk.key_ring
        is_open = rule is not None and rule.open
        # What needs no key is answered without the database too.
        keys = (ring.last_read() if is_open else None) or await ring.current()
        if not keys.in_use:
            _require_local(scope)
            scope[IN_SCOPE] = EVERYTHING
        if is_open or not keys.in_use:
            await self._app(scope, receive, send)
            return
        key = _key_of(scope, ring, keys)
        scope[IN_SCOPE] = key.access
        with structlog.contextvars.bound_contextvars(key=key.access.key):
            headers = await self._limits.count(key)
            with self._limits.at_once(key):
                self._require(rule, key, path)
                await self._app(scope, receive, _adding(headers, send) if headers else send)

    def _require(self, rule: Rule | None, key: ValidKey, path: str) -> None:
        """Raises Forbidden where the key may not do what is asked, and NotFound where nothing is at the path."""
        if rule is not None:
            rule.require(key.access, path)
        elif not self._rules.know(path):
            raise NotFound(f"There is nothing at {path}. GET /docs shows what there is.")


async def refuse_unruled(request: Request) -> None:
    """Dependency of every route: where keys are in use, one that the table of rules does not know is not served.

    A request's rule was found by its path; here it is seen to be the rule of the very route that answers.
    """
    if request.scope.get(IN_SCOPE) is EVERYTHING:
        return
    rule: Rule | None = request.scope[_RULE]
    template = getattr(request.scope.get("route"), "path_format", None)
    if rule is None or rule.template != template:
        raise Forbidden(f"No rule says who may use {request.method} {template}, so nobody may. Report this.")


def caller_without_waiting(
    ring: KeyRing,
    limits: KeyLimits,
    rules: Rules,
    method: str,
    path: str,
    query: bytes,
    sent: Sequence[bytes],
    *,
    local: bool,
) -> Access | None:
    """What the sender of a request may do, where `Admission` would let it in at once, and count nothing; None where
    that is to look at it itself.

    query: what the path's URL says, by names that are known and none of a key's. sent: its headers Authorization.
    local: whether it is of this machine itself, through no proxy.
    """
    keys, rule = ring.fresh(), rules.of_route(method, path)
    if keys is None or rule is None or holds_key(query.decode("latin-1")):
        return None
    if not keys.in_use:
        return EVERYTHING if local else None
    try:
        key = ring.identify(keys, _sent_key([value.decode("latin-1") for value in sent]))
        rule.require(key.access, path)
    except Problem:
        return None
    return None if limits.bind(key) else key.access


def _require_local(scope: Scope) -> None:
    if not is_local(scope):
        raise Forbidden(
            "This service has no keys, and so answers its own machine alone. Make the first key there: "
            f"{FIRST_KEY} (or set CROSSWALK_ADMIN_KEY), and send it as `Authorization: Bearer <key>`."
        )


def _key_of(scope: Scope, ring: KeyRing, keys: ValidKeys) -> ValidKey:
    """The key that was sent. Raises Unauthorized."""
    return ring.identify(keys, _sent_key(Headers(scope=scope).getlist("authorization")))


def _sent_key(sent: Sequence[str]) -> str:
    """The key in the headers Authorization. Raises Unauthorized."""
    if not sent:
        raise Unauthorized("A key is needed. Send it as `Authorization: Bearer <key>`.")
    scheme, _, key = sent[0].partition(" ")
    if len(sent) > 1 or scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("The header Authorization is not understood. Send `Authorization: Bearer <key>`, once.")
    return key.strip()


def _refuse_keys_in_urls(scope: Scope) -> None:
    """Raises BadRequest where a key was sent in the URL, and so was written into histories and the logs of proxies."""
    query: bytes = scope["query_string"]
    unquote = unquote_to_bytes if b"%" in query else bytes
    names = {unquote(part.partition(b"=")[0]).lower() for part in query.split(b"&")}
    sent = (scope["path"], query.decode("latin-1"))
    if not names.isdisjoint(_NAMES_OF_KEYS) or any(map(holds_key, sent)):
        raise BadRequest(
            "A key was sent in the URL, which histories and logs keep. It was not looked at. Revoke it if it is one; "
            "send another as `Authorization: Bearer <key>`."
        )


def _adding(headers: Mapping[str, str], send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers
