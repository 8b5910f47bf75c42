"""How often and how many at a time: limits on the requests of one key.

Rates are counted over a sliding window, in Redis where that is the broker, so that all gateways count together; else in
this process. Requests at one time are counted in each gateway: a count that were shared would never be taken back for a
gateway that died.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil

import limits
import structlog
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from app.keys.valid_keys import ValidKey
from app.problems import TooManyRequests, retry_after_header
from app.rates import parsed_rate
from app.settings import Settings
from app.wording import count_of

_REDIS = ("redis://", "rediss://")
_REDIS_SECONDS = 1.0
_ALONE_SECONDS = 5.0  # after Redis did not answer, so that not every request waits for it

log = structlog.get_logger(__name__)


class KeyLimits:
    """Counts the requests of every key."""

    def __init__(self, settings: Settings) -> None:
        self._default_rate = settings.key_rate
        self._default_concurrency = settings.key_concurrency
        self._at_once: Counter[str] = Counter()
        self._here = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._together = _together(settings.broker_url)
        self._alone_until = float("-inf")

    def bind(self, key: ValidKey) -> bool:
        """Whether there is any limit on the requests of a key."""
        rate, at_once = key.rate or self._default_rate, key.concurrency or self._default_concurrency
        return rate is not None or at_once is not None

    async def count(self, key: ValidKey) -> Mapping[str, str]:
        """Counts a request of a key against its rate; the headers that say what is left of it.

        Raises TooManyRequests, and then does not count it.
        """
        rate = key.rate or self._default_rate
        if rate is None:
            return {}
        item, name = parsed_rate(rate), str(key.access.key)
        taken, reset, remaining = await self._hit(item, name)
        seconds = max(1, ceil(reset - time.time()))
        headers = {
            "RateLimit-Policy": f'"key";q={item.amount};w={item.get_expiry()}',
            "RateLimit": f'"key";r={remaining};t={seconds}',
        }
        if not taken:
            raise TooManyRequests(
                f"Key {name} may make {count_of(item.amount, 'request')} in {_seconds(item.get_expiry())}. "
                f"Try again in {_seconds(seconds)}.",
                headers=headers | retry_after_header(seconds),
                limit=item.amount,
            )
        return headers

    @contextmanager
    def at_once(self, key: ValidKey) -> Iterator[None]:
        """Counts a request among those that a key makes at one time, while it lasts. Raises TooManyRequests."""
        limit, name = key.concurrency or self._default_concurrency, str(key.access.key)
        if limit is not None and self._at_once[name] >= limit:
            raise TooManyRequests(
                f"Key {name} may have {count_of(limit, 'request')} answered at one time, and has. "
                f"Wait for {'it' if limit == 1 else 'one of them'}.",
                headers=retry_after_header(1),
                limit=limit,
            )
        self._at_once[name] += 1
        try:
            yield
        finally:
            self._at_once[name] -= 1
            if not self._at_once[name]:
                del self._at_once[name]

    async def _hit(self, item: limits.RateLimitItem, name: str) -> tuple[bool, float, int]:
        """Whether it was counted, when the window moves on (seconds since 1970), and how many are left.

        Where Redis does not answer, this gateway counts by itself: a limit that is too wide for a while is better than
        a search that fails.
        """
        if self._together is not None and time.monotonic() >= self._alone_until:
            try:
                return await _counted(self._together, item, name)
            except (RedisError, OSError) as error:
                self._alone_until = time.monotonic() + _ALONE_SECONDS
                log.warning("Redis does not count requests; this gateway counts its own", error=repr(error))
        return await _counted(self._here, item, name)


async def _counted(
    limiter: SlidingWindowCounterRateLimiter, item: limits.RateLimitItem, name: str
) -> tuple[bool, float, int]:
    taken = await limiter.hit(item, name)
    stats = await limiter.get_window_stats(item, name)
    return taken, stats.reset_time, stats.remaining


def _together(broker_url: str) -> SlidingWindowCounterRateLimiter | None:
    if not broker_url.startswith(_REDIS):
        return None
    storage = RedisStorage(
        f"async+{broker_url}",
        implementation="redispy",
        key_prefix="crosswalk-rate",
        socket_connect_timeout=_REDIS_SECONDS,
        socket_timeout=_REDIS_SECONDS,
    )
    return SlidingWindowCounterRateLimiter(storage)


def _seconds(count: int) -> str:
    return "a second" if count == 1 else f"{count} seconds"
