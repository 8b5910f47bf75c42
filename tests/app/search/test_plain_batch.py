"""Plain queries in npy are answered by a shorter way, and nobody can tell which way a request took."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.plain_query import PlainQuery, plain_batch
from app.settings import Settings
from app.uploads.media_types import NPY
from tests.app.search.plain_gallery import plain_gallery
from tests.app.search.test_plain_query import VALUES


def _npy(vectors: Any, dtype: str = "<f4") -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(vectors, dtype))
    return buffer.getvalue()


BODIES = [
    _npy([[1, 0], [0.6, 0.8], [0, 1]]),
    _npy([1, 0]),
    _npy([[1, 2]], "<i8"),
    _npy(np.empty((0, 2))),
    _npy([[1, 0], [0, 0]]),
    _npy([[1, 0], [np.nan, 0]]),
    _npy([[1, 2, 3]]),
    _npy([["a", "b"]], "<U1"),
    _npy([[1, 0]])[:-1],
    b"",
    b"{}",
]
LONG_WAY = f"{NPY};way=long"
PARAMETERS = {name: values for name, values in VALUES.items() if name != "vector"} | {"vector": ["0"]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), json_limit_bytes=2_000, search_queries_limit=100)
    with plain_gallery(settings) as client:
        yield client


@st.composite
def urls(draw: st.DrawFn) -> str:
    """A query string that is mostly right: some parameters changed, left out, repeated or made up."""
    pairs = [("gallery", "g"), ("model", "m")]
    for name in draw(st.lists(st.sampled_from(sorted(PARAMETERS)), max_size=3)):
        kept = pairs if draw(st.integers(0, 5)) == 0 else [pair for pair in pairs if pair[0] != name]
        pairs = [*kept, (name, draw(st.sampled_from(PARAMETERS[name])))]
    if draw(st.integers(0, 9)) == 0:
        pairs.pop(draw(st.integers(0, len(pairs) - 1)))
    return "&".join(f"{name}={value}" for name, value in pairs)


def _asked(client: httpx.Client, url: str, body: bytes, media_type: str, **headers: str) -> tuple[int, str, bytes]:
    answer = client.post(f"/search?{url}", content=body, headers={"content-type": media_type, **headers})
    told = answer.content.replace(answer.headers["x-request-id"].encode(), b"")
    return answer.status_code, answer.headers["content-type"], told


@given(url=urls(), body=st.sampled_from(BODIES))
def test_both_ways_tell_the_same(client: httpx.Client, url: str, body: bytes) -> None:
    assert _asked(client, url, body, NPY) == _asked(client, url, body, LONG_WAY)


@pytest.mark.parametrize(
    ("body", "status"), [(_npy(np.ones((101, 2))), 413), (_npy(np.ones((300, 2))), 413), (_npy(np.ones((100, 2))), 200)]
)
def test_both_ways_take_as_much(client: httpx.Client, body: bytes, status: int) -> None:
    short, long = (_asked(client, "gallery=g&model=m", body, way) for way in (NPY, LONG_WAY))
    assert short == long
    assert short[0] == status


def test_compressed_bodies_are_refused_by_both_ways(client: httpx.Client) -> None:
    encoded = {"content-encoding": "gzip"}
    short, long = (_asked(client, "gallery=g&model=m", BODIES[0], way, **encoded) for way in (NPY, LONG_WAY))
    assert short == long
    assert short[0] == 415


def _read(query: str, *headers: tuple[bytes, bytes]) -> PlainQuery | None:
    return plain_batch({"headers": [(b"host", b"x"), *headers], "query_string": query.encode()})


def test_ordinary_batches_take_the_short_way() -> None:
    npy = b"content-type", NPY.encode()
    read = _read("gallery=g&model=m&k=3", npy, (b"content-length", b"144"))
    assert read is not None
    assert (read.gallery, read.model, read.k, read.route, read.filter) == ("g", "m", 3, None, None)
    assert _read("gallery=g&model=m", npy, npy) is None
    assert _read("gallery=g&model=m", (b"content-type", b"application/json")) is None
    assert _read("gallery=g&model=m") is None
    assert _read("gallery=g&model=m", npy, (b"content-encoding", b"gzip")) is None
    for url in ("", "gallery=g", "gallery=g&model=m&vector=0", "gallery=g&model=m&with_vectors=true"):
        assert _read(url, npy) is None
