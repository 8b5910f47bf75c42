"""A bad filter is refused, and told where it is bad; what a name means is no matter of taste."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.filters import Filter, filter_of_body, filter_of_url
from app.filters.expression import FilterField
from app.filters.field_names import NoField, field_named
from app.filters.json_schema import SCHEMAS
from app.filters.parsing import DEEPEST, MOST_CONDITIONS, MOST_FILTERS, MOST_VALUES
from app.problems import Unprocessable


def _deep(levels: int) -> dict[str, Any]:
    filter: dict[str, Any] = {"label": {"eq": "x"}}
    for _ in range(levels):
        filter = {"not": filter}
    return filter


BAD: list[tuple[Any, str, str]] = [
    ([], "", "object"),
    ({"label s": {"eq": "x"}}, "/label s", "Did you mean `label`?"),
    ({"labels": {"eq": "x"}}, "/labels", "is no list"),
    ({"ids": ["a", None]}, "/ids/1", "is null"),
    ({"price": {"eq": 1}}, "/price", "`payload.<member>`"),
    ({"payload": {"exists": True}}, "/payload", "`payload.<member>`"),
    ({"payload.": {"eq": 1}}, "/payload.", "path"),
    ({"payload.a..b": {"eq": 1}}, "/payload.a..b", "path"),
    ({"payload.`a": {"eq": 1}}, "/payload.`a", "backtick"),
    ({"payload." + "a" * 1_000: {"eq": 1}}, "/payload." + "a" * 192, "1000"),
    ({"label": "billing"}, "/label", '{"eq": "billing"}'),
    ({"label": {}}, "/label", "condition"),
    ({"label": {"eqs": "x"}}, "/label/eqs", "Did you mean `eq`?"),
    ({"label": {"ne": "x"}}, "/label/ne", "not"),
    ({"label": {"or": []}}, "/label/or", "around fields"),
    ({"label": {"eq": None}}, "/label/eq", "exists"),
    ({"label": {"eq": ["x"]}}, "/label/eq", "list"),
    ({"label": {"in": []}}, "/label/in", "empty"),
    ({"label": {"in": "x"}}, "/label/in", "list"),
    ({"label": {"in": ["x", {}]}}, "/label/in/1", "object"),
    ({"label": {"eq": 5}}, "/label/eq", 'label is a string, also where a number was put; give a string, like "5"'),
    ({"not": {"label": {"in": ["x", True]}}}, "/not/label/in/1", "is a boolean"),
    ({"labels": ["x", 5.5]}, "/labels/1", "label is a string"),
    ({"ids": [7]}, "/ids/0", "id is a string"),
    ({"id": {"lt": 5}}, "/id/lt", "id is a string"),
    ({"label": {"exists": 1}}, "/label/exists", "is no boolean; give true or false"),
    ({"payload.n": {"gte": True}}, "/payload.n/gte", "boolean"),
    ({"payload.n": {"gte": 1, "lt": "x"}}, "/payload.n/lt", "`gte` a number"),
    ({"payload.n": {"eq": 2**63}}, "/payload.n/eq", "64 bits"),
    ({"payload.a/b~c": {"eq": None}}, "/payload.a~1b~0c/eq", "null"),
    ({"and": [{"label": {"eq": "x"}}, {"payload.price": {"gte": []}}]}, "/and/1/payload.price/gte", "list"),
    ({"and": []}, "/and", "at least one"),
    ({"or": {"label": {"eq": "x"}}}, "/or", "at least one"),
    ({"not": [{"label": {"eq": "x"}}]}, "/not", "object"),
    ({"or": [{"not": {"label": {"like": "x"}}}]}, "/or/0/not/label/like", "operator"),
    (_deep(DEEPEST + 1), "/not" * (DEEPEST + 1), "deep"),
    ({"or": [{"id": {"eq": "a"}}] * (MOST_CONDITIONS + 1)}, f"/or/{MOST_CONDITIONS}/id", str(MOST_CONDITIONS)),
    ({"and": [{}] * MOST_FILTERS}, f"/and/{MOST_FILTERS - 1}", str(MOST_FILTERS)),
    ({"id": {"in": ["a"] * (MOST_VALUES + 1)}}, "/id/in", str(MOST_VALUES)),
    ({"and": [{"id": {"in": ["a"] * (MOST_VALUES // 2 + 1)}}] * 2}, "/and/1/id/in", str(MOST_VALUES)),
]


@pytest.mark.parametrize(("filter", "pointer", "words"), BAD, ids=[pointer[:40] for _, pointer, _ in BAD])
def test_a_bad_filter_is_told_where_it_is_bad(filter: Any, pointer: str, words: str) -> None:
    with pytest.raises(Unprocessable) as in_body:
        filter_of_body(filter)
    (error,) = in_body.value.members["errors"]
    assert error["pointer"] == f"/filter{pointer}"
    assert words in error["message"]
    assert error["message"] in in_body.value.detail
    with pytest.raises(Unprocessable) as in_url:
        filter_of_url(json.dumps(filter))
    (error,) = in_url.value.members["errors"]
    assert (error["parameter"], error["pointer"]) == ("filter", pointer)
    assert words in error["message"]


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("", ""),
        ('{"label": {"eq": "x"}', ""),
        ('{"label": {"eq": "x", "eq": "y"}}', "/label/eq"),
        ('{"payload.n": {"lt": 1e999}}', "/payload.n/lt"),
        ('{"payload.n": {"lt": NaN}}', "/payload.n/lt"),
        ('{"label": {"eq": "\\ud83d"}}', "/label/eq"),
        ("[" * 100_000, ""),
    ],
)
def test_what_is_no_json_in_a_url_is_told(text: str, pointer: str) -> None:
    with pytest.raises(Unprocessable) as told:
        filter_of_url(text)
    assert told.value.members["errors"][0]["parameter"] == "filter"
    assert told.value.members["errors"][0]["pointer"] == pointer


def test_filters_up_to_every_limit_are_taken() -> None:
    Filter.of(_deep(DEEPEST))
    Filter.of({"or": [{"id": {"eq": "a"}}] * MOST_CONDITIONS})
    Filter.of({"id": {"in": ["a"] * MOST_VALUES}})
    Filter.of({})
    Filter.of({"and": [{}] * (MOST_FILTERS - 1)})


@pytest.mark.parametrize(("short", "field"), [("ids", "id"), ("labels", "label")])
def test_lists_of_ids_and_labels_are_short_for_in(short: str, field: str) -> None:
    assert Filter.of({short: ["a", "b"]}).condition == Filter.of({field: {"in": ["a", "b"]}}).condition
    nothing = Filter.of({short: []}).condition
    assert nothing == Filter.of({field: {"eq": "a", "in": ["b"]}}).condition


def test_a_byte_order_mark_before_a_filter_is_passed_over() -> None:
    assert filter_of_url("\ufeff{}") == Filter.of({})


@given(
    path=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), min_size=1, max_size=4)
)
def test_every_member_can_be_named(path: list[str]) -> None:
    name = "payload" + "".join(f".`{step.replace('`', '``')}`" for step in path)
    assert field_named(name) == FilterField("payload", tuple(path))
    if all(step and "." not in step and "`" not in step for step in path):
        assert field_named(".".join(["payload", *path])) == FilterField("payload", tuple(path))


@pytest.mark.parametrize("name", ["payload.a.", "payload.a`b`", "payload.`a`b", "payload.`a``", "payloada", "Label"])
def test_a_name_that_could_be_read_in_two_ways_is_none(name: str) -> None:
    with pytest.raises(NoField):
        field_named(name)


def test_the_order_of_members_does_not_make_another_filter_but_types_do() -> None:
    one = Filter.of({"label": {"eq": "x"}, "id": {"in": ["a"]}})
    assert one.text == Filter.of({"id": {"in": ["a"]}, "label": {"eq": "x"}}).text
    assert Filter.of({"payload.n": {"eq": 1}}).text != Filter.of({"payload.n": {"eq": True}}).text


def test_the_examples_of_the_documentation_are_filters() -> None:
    for example in SCHEMAS["Filter"]["examples"]:
        Filter.of(example)
