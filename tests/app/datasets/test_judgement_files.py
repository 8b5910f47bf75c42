"""Judgements of queries from files as others write them: qrels, BEIR's TSV, and logs of clicks."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.composition import compose
from app.settings import Settings
from tests.e2e.user import checked, problem

URL = "/datasets/d/queries/judgements"


@pytest.fixture
def dataset(client: httpx.Client) -> httpx.Client:
    checked(client.post("/models", json={"id": "m", "dimension": 2, "metric": "cosine"}), 201)
    checked(client.post("/datasets", json={"id": "d"}), 201)
    return client


def put(client: httpx.Client, body: str | bytes, type: str = "text/plain", **query: str) -> httpx.Response:
    return client.put(URL, content=body, headers={"content-type": type}, params=query)


def judged(settings: Settings) -> dict[str, Any]:
    """What is stored as relevant to every query of the dataset."""
    queries = compose(settings).datasets.store("d").queries
    assert queries is not None
    rows = [row for batch in queries.scan(["id", "relevant"]) for row in batch.to_pylist()]
    return {row["id"]: json.loads(row["relevant"]) for row in rows}


CLICKS = """query,item,time,weight
q-1,a,2026-01-01T00:00:00Z,1
q-1,a,2026-03-01T12:00:00+01:00,1.5
"q-1","b, c",2026-03-02,0.4
q-2,a,1772323200,2
"""


@pytest.mark.parametrize(
    ("format", "body", "query", "read"),
    [
        ("qrels", "q-1 0 a 2\nq-1\tQ0\tb 0\r\n\nq-2 0 a -1\n", {}, {"q-1": {"a": 2, "b": 0}, "q-2": {"a": -1}}),
        ("beir", "\ufeffquery-id\tcorpus-id\tscore\nq 1\ta b\t1\nq 1\tc\t3", {}, {"q 1": {"a b": 1, "c": 3}}),
        ("clicks", CLICKS, {}, {"q-1": {"a": 3, "b, c": 0}, "q-2": {"a": 2}}),
        ("clicks", CLICKS, {"since": "2026-02-01T00:00:00Z"}, {"q-1": {"a": 2, "b, c": 0}, "q-2": {"a": 2}}),
        ("clicks", "item\tquery\na\tq\na\tq\nb\tq\n", {}, {"q": {"a": 2, "b": 1}}),
        ("clicks", "query,item,weight\nq,a,5000\nq,b,50\n", {}, {"q": {"a": 1000, "b": 10}}),
        ("qrels", "", {}, {}),
    ],
)
def test_every_format_is_read(
    dataset: httpx.Client, settings: Settings, format: str, body: str, query: dict[str, str], read: dict[str, Any]
) -> None:
    assert checked(put(dataset, body, format=format, **query)) == {"inserted": len(read), "updated": 0}
    assert judged(settings) == read


def test_queries_keep_their_vectors_and_only_those_named_are_judged_anew(
    dataset: httpx.Client, settings: Settings
) -> None:
    queries = [{"id": id, "relevant": ["x"], "embeddings": {"m": [1, 0]}} for id in ("q-1", "q-2")]
    checked(dataset.put("/datasets/d/queries", json={"queries": queries}))
    done = checked(put(dataset, "q-2 0 y 1\nq-3 0 z 1\n", format="qrels"))
    assert done == {"inserted": 1, "updated": 1}
    assert judged(settings) == {"q-1": {"x": 1}, "q-2": {"y": 1}, "q-3": {"z": 1}}
    counted = checked(dataset.get("/datasets/d"))["queries"]
    assert counted == {"count": 3, "judged": 3, "embeddings": {"m": 2}}


@pytest.mark.parametrize(
    ("format", "body", "told"),
    [
        ("qrels", "q 0 a 1\nq 0 a\nq 0 b x\nq 0 c 0.5\n", {2: "has 3 fields", 3: "'x'", 4: "no whole number"}),
        ("qrels", "q 0 a 1\nq 0 a 1\n", {2: "once more"}),
        ("qrels", f"q 0 a 2000\nq 0 {'a' * 600} 1\n", {1: "up to 1000", 2: "item id"}),
        ("qrels", "q 0 a 1\n" + "x" * 5000, {2: "longer than 4096"}),
        ("beir", "query-id\tcorpus-id\tscore\nq a 1\n\nq\ta\tnan\n", {2: "has 1 fields", 4: "no whole number"}),
        ("clicks", "query,item,time\nq,a,yesterday\nq,a\nq,,1\n", {2: "'yesterday'", 3: "has 2 fields", 4: "item id"}),
        ("clicks", "query,item,weight\nq,a,-1\nq,a,inf\n", {2: "'-1'", 3: "'inf'"}),
    ],
)
def test_bad_lines_are_told_by_their_numbers_and_nothing_is_stored(
    dataset: httpx.Client, format: str, body: str, told: dict[int, str]
) -> None:
    refused = problem(put(dataset, body, format=format), 422, "invalid-rows")
    assert [error["line"] for error in refused["errors"]] == list(told)
    for error, part in zip(refused["errors"], told.values(), strict=True):
        assert part in error["message"]
    assert refused["detail"].startswith(f"Line {next(iter(told))} ")
    assert checked(dataset.get("/datasets/d"))["queries"]["count"] == 0


@pytest.mark.parametrize(
    ("format", "body", "query"),
    [
        ("beir", "q\ta\t1\n", {}),
        ("clicks", "who,item\nq,a\n", {}),
        ("clicks", "query,item,item\nq,a,a\n", {}),
        ("clicks", "query,item\nq,a\n", {"since": "2026-01-01T00:00:00Z"}),
        ("qrels", b"q 0 \xff 1\n", {}),
    ],
)
def test_what_is_not_of_the_format_is_refused(
    dataset: httpx.Client, format: str, body: str | bytes, query: dict[str, str]
) -> None:
    problem(put(dataset, body, format=format, **query), 400, "invalid-upload")


def test_text_is_utf_8_of_a_format_and_of_a_dataset_that_are_known(dataset: httpx.Client) -> None:
    problem(put(dataset, "q 0 a 1\n", "application/json", format="qrels"), 415, "unsupported-media-type")
    problem(put(dataset, "q 0 a 1\n", "text/plain; charset=latin-1", format="qrels"), 415, "unsupported-media-type")
    problem(put(dataset, "q 0 a 1\n", format="trec"), 422, "validation-error")
    problem(
        dataset.put("/datasets/e/queries/judgements", content="", headers={"content-type": "text/csv"}),
        404,
        "not-found",
    )
