"""The JSON that search writes itself says what its schemas describe, member for member."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.index import PADDING, Hits
from app.search.answers import Answers, ShownVectors
from app.search.found_items import FoundItem
from app.search.schemas import Group, GroupedAnswer, GroupedAnswers, Hit, SearchAnswer, SearchAnswers

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)
ITEMS = st.tuples(TEXT, st.none() | TEXT, st.none() | st.dictionaries(TEXT, VALUES, max_size=3))
FOUND = st.lists(
    st.lists(st.tuples(ITEMS, st.floats(-(2.0**90), 2.0**90, width=32)), max_size=3), min_size=1, max_size=3
)
ALL_FOUND = st.integers(1, 3).flatmap(
    lambda queries: st.lists(
        st.lists(st.tuples(ITEMS, st.floats(-(2.0**90), 2.0**90, width=32)), min_size=3, max_size=3),
        min_size=queries,
        max_size=queries,
    )
)
"""Of each query as many as are asked for."""

Found = list[list[tuple[tuple[str, str | None, dict[str, Any] | None], float]]]


def _answers(found: Found, note: str | None) -> tuple[Answers, list[list[Hit]]]:
    """Answers that found these items with these scores; and the same, item by item."""
    rows = np.full((len(found), 3), PADDING)
    scores = np.full((len(found), 3), -np.inf, np.float32)
    items: dict[int, FoundItem] = {}
    for query, hits in enumerate(found):
        for place, ((id, label, payload), score) in enumerate(hits):
            row = len(items)
            items[row] = FoundItem.of(id, label, None if payload is None else json.dumps(payload))
            rows[query, place], scores[query, place] = row, score
    expected = [
        [Hit(id=id, label=label, payload=payload, score=score) for (id, label, payload), score in hits]
        for hits in found
    ]
    return Answers("g", "m", 2, "instant", False, note, Hits(rows, scores), items), expected


@given(FOUND | ALL_FOUND, st.none() | TEXT)
def test_answers_are_those_of_the_schemas(found: Found, note: str | None) -> None:
    answers, expected = _answers(found, note)
    said: dict[str, Any] = {"gallery": "g", "model": "m", "generation": 2, "route": "instant", "exact": False}
    many = SearchAnswers.model_validate_json(answers.to_json(), strict=True)
    assert many == SearchAnswers(**said, note=note, results=expected)
    ones = [answers.one_to_json(query).partition(b'"results":')[2][:-1] for query in range(len(expected))]
    assert answers.to_json().endswith(b'"results":[%s]}' % b",".join(ones))
    for query, hits in enumerate(expected):
        one = SearchAnswer.model_validate_json(answers.one_to_json(query), strict=True)
        assert one == SearchAnswer(**said, note=note, results=hits)


def test_every_member_of_the_schemas_is_written() -> None:
    answers, _ = _answers([[(("a", "l", {"n": 1}), 0.5)]], "note")
    assert json.loads(answers.to_json()).keys() == SearchAnswers.model_fields.keys() - {"vectors_model"}
    one = json.loads(answers.one_to_json(0))
    assert one.keys() == SearchAnswer.model_fields.keys() - {"vectors_model"}
    assert one["results"][0].keys() == Hit.model_fields.keys() - {"vector"}
    with_vectors = replace(answers, shown=ShownVectors("old", {0: b"[0.5,1.0]"}))
    one = json.loads(with_vectors.one_to_json(0))
    assert one.keys() == SearchAnswer.model_fields.keys()
    assert one["results"][0].keys() == Hit.model_fields.keys()
    assert (one["vectors_model"], one["results"][0]["vector"]) == ("old", [0.5, 1.0])


@given(FOUND, st.none() | TEXT)
def test_grouped_answers_are_those_of_the_schemas(found: Found, note: str | None) -> None:
    answers, expected = _answers(found, note)
    answers = replace(
        answers, group_size=3, items={row: FoundItem.of(item.id, "l", None) for row, item in answers.items.items()}
    )
    groups = [
        [Group(label="l", results=[Hit(id=hit.id, score=hit.score, label="l") for hit in hits])] if hits else []
        for hits in expected
    ]
    said: dict[str, Any] = {"gallery": "g", "model": "m", "generation": 2, "route": "instant", "exact": False}
    many = GroupedAnswers.model_validate_json(answers.to_json(), strict=True)
    assert many == GroupedAnswers(**said, note=note, groups=groups)
    one = GroupedAnswer.model_validate_json(answers.one_to_json(0), strict=True)
    assert one == GroupedAnswer(**said, note=note, groups=groups[0])
