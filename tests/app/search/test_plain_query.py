"""A plain `GET /search` is answered by a shorter way, and nobody can tell which way a request took."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.plain_query import PlainQuery, plain_query
from app.settings import Settings
from tests.app.search.plain_gallery import plain_gallery

PLAIN = urlsafe_b64encode(np.array([1, 0], "<f4").tobytes()).decode()
IDS = ["g", "m", "stranger", "missing", "", "G", "g%0A", "%67", "g+", "%ff", "a" * 64]
VECTORS = [
    PLAIN,
    PLAIN.rstrip("="),
    "1,0",
    "1%2C0",
    "[1,0]",
    "%5B1,%200%5D",
    "0,0",
    "1",
    "1,2,3",
    "1e39,0",
    "1e+1,0",
    "x,y",
]
VALUES = {
    "gallery": IDS,
    "model": IDS,
    "vector": [*VECTORS, "", "%ff", "1,0%00", "1,%F0%9F%98%80"],
    "k": ["1", "2", "10", "0", "-1", "007", "1e1", "2.0", "", "1000000", "99999999999999999999", "%31"],
    "route": ["instant", "cascade", "fused", "reranked", "direct", "", "Instant"],
    "old_vector": ["1,0", "x", ""],
    "filter": [
        '{"id":{"eq":"a"}}',
        '{"payload.n":{"eq":1}}',
        '+{"id":+{"eq":+"a+b"}}',
        '{"payload.n":{"gte":true}}',
        '{"label":[1]}',
        "{}",
        "{",
        "",
        "%00",
        "%C3%A9",
        "%ff",
    ],
    "like": ["a", "none", ""],
    "min_score": ["0.5", "nan", "x"],
    "max_distance": ["0.5"],
    "with_vectors": ["true", "perhaps"],
    "group_by": ["label", "colour"],
    "group_size": ["2", "0"],
    "nonsense": ["1"],
}
GOOD = {"gallery": "g", "model": "m", "vector": PLAIN}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with plain_gallery(Settings(data_dir=tmp_path_factory.mktemp("data"))) as client:
        yield client


@st.composite
def queries(draw: st.DrawFn) -> str:
    """A query string that is mostly right: some parameters changed, left out, repeated or made up."""
    pairs = list(GOOD.items())
    for name in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3)):
        kept = pairs if draw(st.integers(0, 5)) == 0 else [pair for pair in pairs if pair[0] != name]
        pairs = [*kept, (name, draw(st.sampled_from(VALUES[name])))]
    if draw(st.integers(0, 9)) == 0:
        pairs.pop(draw(st.integers(0, len(pairs) - 1)))
    return draw(st.sampled_from(["&", "&", "&&"])).join(f"{name}={value}" for name, value in pairs)


def _told(answer: httpx.Response) -> tuple[int, str, dict[str, Any]]:
    body = answer.json()
    body.pop("request_id", None)
    return answer.status_code, answer.headers["content-type"], body


@given(query=queries())
def test_both_ways_tell_the_same(client: httpx.Client, query: str) -> None:
    # One that announces a body, were it none, takes the long way.
    longer = client.get(f"/search?{query}", headers={"content-length": "0"})
    assert _told(client.get(f"/search?{query}")) == _told(longer)


def _read(query: str, *headers: tuple[bytes, bytes]) -> PlainQuery | None:
    return plain_query({"headers": [(b"host", b"x"), *headers], "query_string": query.encode()})


def test_ordinary_queries_take_the_short_way() -> None:
    start = "gallery=g&model=m&vector="
    assert _read(start + PLAIN) == PlainQuery("g", "m", PLAIN, 10, None)
    assert _read(start + "0.5%2C-1e-3") == PlainQuery("g", "m", "0.5,-1e-3", 10, None)
    filtered = PlainQuery("g", "m", "1,0", 10, None, '{"id": {"eq": "a"}}')
    assert _read(start + "1,0&filter=%7B%22id%22:%20%7B%22eq%22:%20%22a%22%7D%7D") == filtered
    assert _read(start + "1,0&filter={}+") is None
    assert _read(f"k=3&route=instant&{start}1,0") == PlainQuery("g", "m", "1,0", 3, "instant")
    assert _read(start + PLAIN, (b"content-length", b"2")) is None
    assert _read(start + PLAIN, (b"transfer-encoding", b"chunked")) is None


def test_queries_that_come_together_are_answered_as_if_they_came_alone(client: httpx.Client) -> None:
    rng = np.random.default_rng(0)
    vectors = [",".join(map(str, vector)) for vector in rng.standard_normal((60, 2)).tolist()] + ["0,0", "1", "x,y"]
    alone = [_told(_search(client, vector)) for vector in vectors]
    with ThreadPoolExecutor(len(vectors)) as threads:
        for _ in range(3):
            assert [_told(answer) for answer in threads.map(lambda vector: _search(client, vector), vectors)] == alone


def _search(client: httpx.Client, vector: str) -> httpx.Response:
    return client.get(f"/search?gallery=g&model=m&vector={vector}")
