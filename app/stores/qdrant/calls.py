"""Calls of Qdrant's client: made again where they may be, with errors that show no address."""

import json
from collections.abc import Callable
from typing import Any

import httpx
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from app.stores.outages import Answered, answered_with, broken, made_again, refused, timed_out
from app.stores.protocol import StoreAway


class NotThere(Exception):
    """The collection, or one of the points, does not exist."""


class QdrantCalls:
    """One client. store: what errors call it. timeout: seconds within which each call has to be answered."""

    def __init__(self, client: QdrantClient, store: str, timeout: float) -> None:
        self.client, self.store = client, store
        self._timeout = timeout

    def ask(self, method: Callable[..., Answered], *arguments: Any, **named: Any) -> Answered:
        """The answer of one of the client's methods, each of which does nothing twice. Raises NotThere, StoreAway."""
        return made_again(lambda: self._asked(method, *arguments, **named))

    def _asked(self, method: Callable[..., Answered], *arguments: Any, **named: Any) -> Answered:
        try:
            return method(*arguments, **named)
        except UnexpectedResponse as error:
            if error.status_code == 404:
                raise NotThere from None
            raise answered_with(self.store, error.status_code or 500, _reason(error)) from None
        except ResourceExhaustedResponse:
            raise answered_with(self.store, 429) from None
        except ResponseHandlingException as error:
            raise self._unanswered(error.source) from None

    def _unanswered(self, cause: Exception) -> StoreAway:
        if isinstance(cause, httpx.TimeoutException):
            return timed_out(self.store, self._timeout)
        if isinstance(cause, httpx.ConnectError):
            return refused(self.store)
        if isinstance(cause, httpx.TransportError):
            return broken(self.store)
        return StoreAway(f"{self.store} answered what no Qdrant of a version known to its client does")


def _reason(error: UnexpectedResponse) -> str | None:
    """What Qdrant itself says; None where something before it answered."""
    try:
        told = json.loads(error.content)["status"]["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return told if isinstance(told, str) else None
