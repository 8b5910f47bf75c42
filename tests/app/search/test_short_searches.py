"""Single queries answered by the event loop itself: only what waits for nothing, and never anything older."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from app import short_calls
from app.composition import Crosswalk
from app.filters import Filter, filter_of_url
from app.keys.access import EVERYTHING
from app.search.resolution import ResolvedSearch
from app.search.service import Search
from app.search.single_queries import SingleAnswer, _Alike
from app.settings import Settings
from app.short_calls import TakesLong, in_event_loop
from tests.serving import serving

QUERY = base64.urlsafe_b64encode(np.array([1, 0], "<f4").tobytes()).decode()


@dataclass
class SearchedHere:
    """A gallery of two items, and in which threads its searches ran."""

    client: httpx.Client
    crosswalk: Crosswalk
    threads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.post("/models", {"id": "m", "dimension": 2, "metric": "cosine"})
        self.post("/galleries", {"id": "g", "model": "m"})
        self.put("a", [1, 0], "first")
        self.put("b", [0, 1], "first")

    def post(self, path: str, body: object) -> None:
        self.client.post(path, json=body).raise_for_status()

    def put(self, item: str, vector: list[float], label: str) -> None:
        items = {"items": [{"id": item, "embedding": vector, "label": label}]}
        self.client.put("/galleries/g/items?model=m", json=items).raise_for_status()

    def found(self) -> list[tuple[str, str]]:
        """Over HTTP."""
        answer = self.client.get("/search", params={"gallery": "g", "model": "m", "vector": QUERY}).raise_for_status()
        return [(hit["id"], hit["label"]) for hit in answer.json()["results"]]

    def found_here(self, only: Filter | None = None) -> list[tuple[str, str]]:
        """By the call that a thread or the event loop makes."""
        (answer,) = self.crosswalk.single_queries._together(_Alike("g", "m", 10, None, EVERYTHING, only), [QUERY])
        assert isinstance(answer, SingleAnswer)
        return [(hit["id"], hit["label"]) for hit in json.loads(answer.body)["results"]]

    def takes_long(self) -> bool:
        """Whether an event loop has to leave the next search to a thread."""
        try:
            with in_event_loop():
                self.found_here()
        except TakesLong:
            return True
        return False

    def traffic(self) -> int:
        return len(self.crosswalk.traffic._waiting)


@pytest.fixture
def here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[SearchedHere]:
    yield from searched_here(settings, monkeypatch)


def searched_here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[SearchedHere]:
    """A gateway whose searches are all short, however long a busy machine takes for them."""
    monkeypatch.setattr(short_calls, "_SECONDS", 3600.0)
    monkeypatch.setattr(short_calls, "_SECONDS_FOR_EACH", 60.0)
    applications: list[FastAPI] = []
    with serving(settings, more=applications.append) as client:
        here = SearchedHere(client, applications[0].state.crosswalk)
        search = Search.search

        def noted(self: Search, resolved: ResolvedSearch, *arguments: object, **more: object) -> object:
            here.threads.append(threading.current_thread().name)
            return search(self, resolved, *arguments, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(Search, "search", noted)
        yield here


def test_the_event_loop_answers_once_searches_turned_out_to_be_short(here: SearchedHere) -> None:
    for _ in range(3):
        assert here.found() == [("a", "first"), ("b", "first")]
    assert here.threads[0] == "search"
    assert set(here.threads[1:]) == {next(name for name in here.threads if name != "search")}


def test_what_was_written_is_found_at_once_by_a_thread_that_reads_it(here: SearchedHere) -> None:
    for number in range(3):
        here.found()
        assert not here.takes_long()
        here.put("c", [1, number], f"label {number}")
        assert here.takes_long()
        assert ("c", f"label {number}") in here.found()
        assert not here.takes_long()


def test_a_label_that_was_changed_is_shown_at_once_and_what_was_found_is_counted_once(here: SearchedHere) -> None:
    here.found()
    here.client.patch("/galleries/g/items", json={"items": [{"id": "a", "label": "second"}]}).raise_for_status()
    counted = here.traffic()
    assert here.takes_long()
    assert here.traffic() == counted
    assert here.found() == [("a", "second"), ("b", "first")]


def test_after_a_commit_what_is_searched_is_resolved_anew_by_a_thread(here: SearchedHere) -> None:
    here.found()
    here.post("/models", {"id": "another", "dimension": 2, "metric": "cosine"})
    assert here.takes_long()
    here.found()
    assert not here.takes_long()


def test_filters_are_left_to_threads(here: SearchedHere) -> None:
    only = filter_of_url('{"label": {"eq": "first"}}')
    for _ in range(3):
        params = {"gallery": "g", "model": "m", "vector": QUERY, "filter": '{"label": {"eq": "first"}}'}
        assert len(here.client.get("/search", params=params).raise_for_status().json()["results"]) == 2
    assert set(here.threads) == {"search"}
    assert here.found_here(only) == [("a", "first"), ("b", "first")]


def test_a_database_that_is_asked_over_a_network_is_asked_by_threads(
    settings: Settings, migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = settings.model_copy(update={"database_url": migrated_postgres_url})
    for here in searched_here(elsewhere, monkeypatch):
        for _ in range(3):
            assert here.found() == [("a", "first"), ("b", "first")]
            assert here.takes_long()
        assert set(here.threads) == {"search"}


def test_a_table_in_an_object_store_is_asked_for_its_version_by_threads(
    settings: Settings, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = settings.model_copy(update={"storage_url": storage_url})
    for here in searched_here(elsewhere, monkeypatch):
        for _ in range(3):
            assert here.found() == [("a", "first"), ("b", "first")]
            assert here.takes_long()


def test_milvus_is_asked_by_threads(settings: Settings, milvus: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.index.milvus_server import MilvusServer  # what it needs is an extra

    with in_event_loop(), pytest.raises(TakesLong):
        MilvusServer.__new__(MilvusServer)._call("list_collections")


def test_several_searches_at_once_are_left_to_threads_so_that_none_is_noted_twice(here: SearchedHere) -> None:
    here.found()
    zero = base64.urlsafe_b64encode(np.zeros(2, "<f4").tobytes()).decode()
    counted = here.traffic()
    with in_event_loop(), pytest.raises(TakesLong):
        here.crosswalk.single_queries._together(_Alike("g", "m", 10, None, EVERYTHING, None), [QUERY, zero])
    assert here.traffic() == counted


def test_zero_and_wrong_vectors_among_others_are_answered_as_if_they_had_come_alone(here: SearchedHere) -> None:
    zero = base64.urlsafe_b64encode(np.zeros(2, "<f4").tobytes()).decode()
    alike = _Alike("g", "m", 10, None, EVERYTHING, None)
    texts = [QUERY, zero, "1,2,3", QUERY]
    together = here.crosswalk.single_queries._together(alike, texts)
    for text, answer in zip(texts, together, strict=True):
        (alone,) = here.crosswalk.single_queries._together(alike, [text])
        if isinstance(answer, SingleAnswer):
            assert answer == alone
        else:
            assert str(answer) == str(alone)
    assert [isinstance(answer, SingleAnswer) for answer in together] == [True, False, False, True]
