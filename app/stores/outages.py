"""What keeps a store's server from answering, told without its address, and calls that are made again where it passes.

StoreAway
└── PassingOutage   a repetition may succeed: refused, timed out, busy, failed
"""

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from app.stores.protocol import StoreAway

_ATTEMPTS = 4
_LONGEST_WAIT = 5.0
"""Seconds."""

Answered = TypeVar("Answered")


class PassingOutage(StoreAway):
    """The store does not answer now; the same call may succeed later."""


def made_again(call: Callable[[], Answered]) -> Answered:
    """The answer of a call that does nothing twice, made again after each PassingOutage, a few times and each time
    later. Raises the last one."""
    attempts = Retrying(
        retry=retry_if_exception_type(PassingOutage),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT),
        reraise=True,
    )
    answer: Answered = attempts(call)
    return answer


def refused(store: str) -> PassingOutage:
    return PassingOutage(f"{store} cannot be reached: the connection was refused or its host is not found")


def broken(store: str) -> PassingOutage:
    return PassingOutage(f"the connection to {store} broke before it had answered")


def timed_out(store: str, seconds: float) -> PassingOutage:
    return PassingOutage(f"{store} did not answer within {seconds:g} seconds (the connection's `timeout_s`)")


def answered_with(store: str, status: int, reason: str | None = None) -> StoreAway:
    """For an answer by HTTP that is an error. reason: what the store says of the request, free of addresses."""
    if status in (401, 403):
        return StoreAway(f"{store} refuses the connection's credentials (status {status})")
    if status == 429:
        return PassingOutage(f"{store} is too busy (status 429)")
    if status >= 500:
        return PassingOutage(f"{store} failed (status {status})")
    return StoreAway(f"{store} refused the request (status {status})" + (f": {reason[:200]}" if reason else ""))
