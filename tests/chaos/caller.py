"""One client's way to the service: every call is recorded with how sure its outcome is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.chaos.cluster import Cluster
from tests.chaos.history import History, Operation, Outcome, What
from tests.loopback import NO_TLS
from tests.waiting import PATIENCE_SECONDS

_AWAY_SECONDS = 0.25


class Caller:
    """Calls whichever gateway chance says. One thread's own."""

    def __init__(self, name: str, cluster: Cluster, history: History, seed: int) -> None:
        self.name = name
        self.random = random.Random(f"{name} {seed}")
        self._history = history
        limits = httpx.Limits(max_keepalive_connections=1)
        self._clients = [
            httpx.Client(base_url=str(gateway.url), timeout=PATIENCE_SECONDS, verify=NO_TLS, limits=limits)
            for gateway in cluster.gateways
        ]

    def call(
        self,
        what: What,
        method: str,
        url: str,
        *,
        answered: Callable[[What, Any], What] = lambda what, _: what,
        gateway: int | None = None,
        **request: Any,
    ) -> Operation:
        """Calls, and records. answered: the operation with what a successful answer says of it."""
        number = self.random.randrange(len(self._clients)) if gateway is None else gateway
        began = time.monotonic()
        outcome: Outcome = "unknown"
        status, text = None, ""
        try:
            answer = self._clients[number].request(method, url, **request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            outcome, text = "refused", repr(error)  # nobody has heard of it
        except httpx.TransportError as error:
            text = repr(error)
        else:
            status = answer.status_code
            outcome = _outcome(status)
            if answer.is_success:
                what = answered(what, answer.json())
            else:
                text = answer.text
        operation = Operation(self.name, number, began, time.monotonic(), outcome, status, what, text)
        self._history.add(operation)
        if status is None or status >= 500:
            time.sleep(_AWAY_SECONDS)
        return operation

    def until_sure(self, what: What, method: str, url: str, **more: Any) -> Operation:
        """Calls again and again until there is an answer that is none of a service that is away; for at most as long as
        the patience of tests lasts."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            operation = self.call(what, method, url, **more)
            if operation.status is not None and operation.status < 500:
                return operation
            assert time.monotonic() < deadline, f"no answer to {method} {url}: {operation.text}"

    def close(self) -> None:
        for client in self._clients:
            client.close()


def _outcome(status: int) -> Outcome:
    if status < 400:
        return "ok"
    return "refused" if status < 500 else "unknown"
