"""Calls of Chroma's client: made again where they may be, in a bounded time, with errors that show no address."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import httpx
from chromadb.errors import AuthorizationError, ChromaAuthError, ChromaError, NotFoundError

from app.stores.outages import Answered, answered_with, broken, made_again, refused, timed_out
from app.stores.protocol import StoreAway


class NoSuchCollection(Exception):
    """The collection does not exist."""


class ChromaCalls:
    """store: what errors call it. timeout: seconds within which each call has to be answered."""

    def __init__(self, store: str, timeout: float) -> None:
        self.store, self._timeout = store, timeout

    def ask(self, method: Callable[..., Answered], *arguments: Any, **named: Any) -> Answered:
        """The answer of one of the client's methods, each of which does nothing twice. Raises NoSuchCollection,
        StoreAway."""
        return made_again(lambda: self._asked(lambda: method(*arguments, **named)))

    def connected(self, connect: Callable[[], Answered]) -> Answered:
        """What `connect` makes. The client asks its server for several things then, and waits for ever: here it is
        left alone after the timeout, in a thread that ends when the server closes the connection."""
        return made_again(lambda: self._asked(lambda: self._in_time(connect)))

    def _in_time(self, connect: Callable[[], Answered]) -> Answered:
        made: SimpleQueue[tuple[Answered | None, BaseException | None]] = SimpleQueue()

        def run() -> None:
            try:
                made.put((connect(), None))
            except BaseException as error:  # it is raised where it is waited for
                made.put((None, error))

        threading.Thread(target=run, daemon=True).start()
        try:
            answer, error = made.get(timeout=self._timeout)
        except Empty:
            raise timed_out(self.store, self._timeout) from None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]  # there is one where there is no error

    def _asked(self, call: Callable[[], Answered]) -> Answered:
        try:
            return call()
        except StoreAway:
            raise
        except NotFoundError:
            raise NoSuchCollection from None
        except Exception as error:  # the client has no class for what others than Chroma answer
            raise self._trouble(error) from None

    def _trouble(self, error: BaseException) -> StoreAway:
        causes = _causes(error)
        if any(isinstance(cause, httpx.TimeoutException) for cause in causes):
            return timed_out(self.store, self._timeout)
        if any(isinstance(cause, httpx.ConnectError) for cause in causes):
            return refused(self.store)
        if any(isinstance(cause, httpx.TransportError) for cause in causes):
            return broken(self.store)
        if any(isinstance(cause, AuthorizationError | ChromaAuthError) for cause in causes):
            return answered_with(self.store, 401)
        if (status := next((cause.response.status_code for cause in causes if _is_answer(cause)), None)) is not None:
            return answered_with(self.store, status)
        if (said := next((cause for cause in causes if isinstance(cause, ChromaError)), None)) is not None:
            return answered_with(self.store, said.code(), said.message())
        return StoreAway(f"{self.store} answered what no Chroma of a version known to its client does")


def _is_answer(cause: Any) -> bool:
    return isinstance(cause, httpx.HTTPStatusError)


def _causes(error: BaseException) -> list[Any]:
    """The error and those that led to it: the client raises errors of no class of its own for them."""
    causes: list[Any] = []
    following: BaseException | None = error
    while following is not None and following not in causes:
        causes.append(following)
        following = following.__cause__ or following.__context__
    return causes
