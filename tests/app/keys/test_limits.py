"""Limits on the requests of one key: in one process, and together through Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio
import httpx
import pytest
from pydantic import SecretStr

from app.keys import limits as limits_of_keys
from app.keys.access import Access, KeyScope
from app.keys.limits import KeyLimits
from app.keys.valid_keys import ValidKey
from app.problems import TooManyRequests
from app.settings import Settings
from tests.services import RedisServer
from tests.serving import serving
from tests.waiting import PATIENCE_SECONDS

ADMIN = "not-a-real-admin-key-0123456789abcdef"


def _key(name: str, rate: str | None = None, concurrency: int | None = None) -> ValidKey:
    return ValidKey(Access(name, frozenset({KeyScope.SEARCH})), "", None, rate, concurrency)


def _refusals(count: Callable[[], object]) -> bool:
    try:
        count()
    except TooManyRequests:
        return True
    return False


def test_a_key_beyond_its_rate_is_told_when_to_come_back() -> None:
    async def counted() -> None:
        limits = KeyLimits(Settings())
        headers: Mapping[str, str] = {}
        for _ in range(3):
            headers = await limits.count(_key("a", "3/hour"))
        assert headers["RateLimit-Policy"] == '"key";q=3;w=3600'
        assert headers["RateLimit"].startswith('"key";r=0;t=')
        with pytest.raises(TooManyRequests) as refusal:
            await limits.count(_key("a", "3/hour"))
        assert refusal.value.headers is not None
        assert 1 <= int(refusal.value.headers["Retry-After"]) <= 3600
        assert await limits.count(_key("b", "3/hour"))  # each key has its own
        assert await limits.count(_key("c")) == {}

    anyio.run(counted)


def test_the_settings_limit_keys_that_say_nothing() -> None:
    async def counted() -> None:
        limits = KeyLimits(Settings(key_rate="1/hour", key_concurrency=1))
        await limits.count(_key("a"))
        with pytest.raises(TooManyRequests):
            await limits.count(_key("a"))
        await limits.count(_key("b", "2/hour"))
        await limits.count(_key("b", "2/hour"))
        with limits.at_once(_key("a")), pytest.raises(TooManyRequests), limits.at_once(_key("a")):
            pass

    anyio.run(counted)


def test_as_many_at_one_time_as_a_key_may_and_no_more() -> None:
    limits, key = KeyLimits(Settings()), _key("a", concurrency=2)
    with limits.at_once(key), limits.at_once(key):
        assert _refusals(lambda: limits.at_once(key).__enter__())
        with limits.at_once(_key("b", concurrency=1)):
            pass
    with limits.at_once(key):
        pass
    assert not limits._at_once


def test_gateways_on_one_redis_count_together(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_of_keys, "_REDIS_SECONDS", PATIENCE_SECONDS)

    async def counted() -> None:
        settings = Settings(broker_url=redis_url)
        one, other, key = KeyLimits(settings), KeyLimits(settings), _key("together", "3/hour")
        for gateway in (one, other, one):
            await gateway.count(key)
        for gateway in (one, other):
            with pytest.raises(TooManyRequests):
                await gateway.count(key)

    anyio.run(counted)


def test_without_redis_a_gateway_counts_by_itself() -> None:
    async def counted() -> None:
        limits = KeyLimits(Settings(broker_url=RedisServer().url))  # never started
        await limits.count(_key("a", "1/hour"))
        with pytest.raises(TooManyRequests):
            await limits.count(_key("a", "1/hour"))

    anyio.run(counted)


def test_health_is_never_limited_and_requests_are(settings: Settings) -> None:
    settings = settings.model_copy(update={"admin_key": SecretStr(ADMIN), "key_rate": "3/hour"})
    sent = {"Authorization": f"Bearer {ADMIN}"}
    with serving(settings) as client:
        answers: list[httpx.Response] = [client.get("/models", headers=sent) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["ratelimit"].startswith('"key";r=2')
        assert {"retry-after", "ratelimit", "ratelimit-policy"} <= set(answers[3].headers)
        assert answers[3].json()["type"] == "/problems/too-many-requests"
        for _ in range(5):
            assert client.get("/healthz", headers=sent).status_code == 200
