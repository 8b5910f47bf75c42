"""Filters as they come in requests, JSON, are read here, and nowhere else; docs/search.md describes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from app.filters.expression import (
    AllOf,
    AnyOf,
    Bound,
    Condition,
    FieldCondition,
    FilterField,
    Negation,
    Scalar,
    same_scalar,
    scalar_type,
)
from app.filters.field_names import NoField, field_named
from app.json_text import check_json, fault_of_text, pointer_step
from app.problems import Problem, Unprocessable

DEEPEST = 16
"""How many `and`, `or` and `not` may be within one another."""
MOST_CONDITIONS = 256
MOST_FILTERS = 1_000
"""That are within one another or side by side, the empty ones too."""
MOST_VALUES = 10_000
"""In all lists of `in` together."""

_RANGE: tuple[Literal["gt", "gte", "lt", "lte"], ...] = ("gt", "gte", "lt", "lte")
_OPERATORS = ("eq", "in", *_RANGE, "exists")
_OF_LISTS: Mapping[str, Literal["id", "label"]] = {"ids": "id", "labels": "label"}
"""Short for `in`: `{"labels": ["a", "b"]}` is `{"label": {"in": ["a", "b"]}}`. Such a list may be empty, and lets
nothing through: it is as a rule one that a program has gathered."""
_INTEGERS = range(-(2**63), 2**63)
_HINTS = {
    "ne": '`{"not": {"FIELD": {"eq": …}}}` says so',
    "nin": '`{"not": {"FIELD": {"in": […]}}}` says so',
    "and": "it combines whole filters, and stands around fields",
    "or": "it combines whole filters, and stands around fields",
    "not": "it turns a whole filter round, and stands around fields",
}


class BadFilter(ValueError):
    """What is wrong with a filter. pointer: a JSON pointer to the place, from the filter's own root."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


@dataclass(frozen=True)
class Filter:
    """Which items may be found. text: the JSON that it was read from, in one form for all orders of members, by which
    filters are compared."""

    condition: Condition = field(compare=False)
    text: str

    @classmethod
    def of(cls, value: Any) -> Filter:
        """The filter of a JSON value, as Python's json reads it. Raises BadFilter."""
        condition = _Reader().condition(value, "", 0)
        return cls(condition, json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def filter_of_body(value: Any, pointer: str = "/filter") -> Filter:
    """The filter at a place of a JSON body. Raises Unprocessable, which points into the body."""
    try:
        return Filter.of(value)
    except BadFilter as bad:
        place = pointer + bad.pointer
        raise Unprocessable.at(_sentence(f"{place}: {bad}"), pointer=place, message=str(bad)) from None


def filter_of_url(text: str | None) -> Filter | None:
    """The filter that the query parameter `filter` holds as JSON; None where it is not given.

    Raises Unprocessable, which names the parameter, and the place within it as a JSON pointer.
    """
    if text is None:
        return None
    try:
        check_json(text.encode())
        return Filter.of(json.loads(text.removeprefix("\ufeff")))
    except BadFilter as bad:
        faults = [(bad.pointer, str(bad))]
    except Problem as problem:
        # Where there is a place, it is named; what is no JSON at all has none.
        errors: list[dict[str, str]] = problem.members.get("errors", [{"pointer": "", "message": problem.detail}])
        faults = [(error["pointer"], error["message"].rstrip(".").replace("The body", "it", 1)) for error in errors]
    place, message = faults[0]
    raise Unprocessable(
        _sentence(f"The query parameter `filter` is no filter{f', at {place}' if place else ''}: {message}"),
        errors=[{"parameter": "filter", "pointer": pointer, "message": said} for pointer, said in faults],
    )


class _Reader:
    """Reads one filter, and counts what is in it."""

    def __init__(self) -> None:
        self._filters = 0
        self._conditions = 0
        self._values = 0

    def condition(self, value: Any, pointer: str, depth: int) -> Condition:
        if not isinstance(value, dict):
            raise BadFilter(pointer, 'is no object; a filter is one, like {"label": {"eq": "billing"}}')
        self._filters += 1
        if self._filters > MOST_FILTERS:
            raise BadFilter(pointer, f"is one filter too many: at most {MOST_FILTERS} are combined into one")
        if depth > DEEPEST:
            raise BadFilter(pointer, f"is nested too deeply: at most {DEEPEST} of `and`, `or` and `not` in one another")
        parts = tuple(
            self._member(name, member, f"{pointer}/{pointer_step(name)}", depth) for name, member in value.items()
        )
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def _member(self, name: str, value: Any, pointer: str, depth: int) -> Condition:
        if name == "not":
            return Negation(self.condition(value, pointer, depth + 1))
        if name in ("and", "or"):
            if not isinstance(value, list) or not value:
                raise BadFilter(pointer, "is no list of at least one filter")
            parts = tuple(self.condition(part, f"{pointer}/{place}", depth + 1) for place, part in enumerate(value))
            return AllOf(parts) if name == "and" else AnyOf(parts)
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            raise BadFilter(pointer, f"is one condition too many: a filter takes at most {MOST_CONDITIONS}")
        if name in _OF_LISTS:
            listed = FilterField(_OF_LISTS[name])
            return FieldCondition(listed, self._several(value, pointer, listed))
        if fault := fault_of_text(name):
            raise BadFilter(pointer, f"its name {fault}")
        try:
            named = field_named(name)
        except NoField as none:
            raise BadFilter(pointer, str(none).rstrip(".")) from None
        return self._field_condition(named, value, pointer)

    def _field_condition(self, field: FilterField, value: Any, pointer: str) -> FieldCondition:
        if not isinstance(value, dict) or not value:
            raise BadFilter(
                pointer, f'says no condition; give an object of {_listed(_OPERATORS)}, like {{"eq": "billing"}}'
            )
        for operator in value:
            if operator not in _OPERATORS:
                raise BadFilter(f"{pointer}/{pointer_step(operator)}", _no_operator(operator))
        exists = value.get("exists")
        if "exists" in value and not isinstance(exists, bool):
            raise BadFilter(f"{pointer}/exists", "is no boolean; give true or false")
        return FieldCondition(field, self._among(value, pointer, field), _bounds(value, pointer, field), exists)

    def _among(self, conditions: Mapping[str, Any], pointer: str, field: FilterField) -> tuple[Scalar, ...] | None:
        """The values that `eq` and `in` leave, if either is given."""
        listed = self._several(conditions["in"], f"{pointer}/in", field) if "in" in conditions else None
        if listed == ():
            raise BadFilter(f"{pointer}/in", "is empty, and nothing is in it; list at least one value")
        if "eq" not in conditions:
            return listed
        only = _scalar(conditions["eq"], f"{pointer}/eq", field)
        return (only,) if listed is None or any(same_scalar(one, only) for one in listed) else ()

    def _several(self, values: Any, pointer: str, field: FilterField) -> tuple[Scalar, ...]:
        if not isinstance(values, list):
            raise BadFilter(pointer, "is no list")
        self._values += len(values)
        if self._values > MOST_VALUES:
            raise BadFilter(pointer, f"lists too many values: a filter takes at most {MOST_VALUES}")
        return tuple(_scalar(one, f"{pointer}/{place}", field) for place, one in enumerate(values))


def _bounds(conditions: Mapping[str, Any], pointer: str, field: FilterField) -> tuple[Bound, ...]:
    bounds: list[Bound] = []
    for operator in _RANGE:
        if operator not in conditions:
            continue
        place = f"{pointer}/{operator}"
        value = _scalar(conditions[operator], place, field)
        if isinstance(value, bool):
            raise BadFilter(place, "is a boolean, and booleans have no order; compare with a number or a string")
        if bounds and scalar_type(bounds[0].value) != scalar_type(value):
            other = f"`{bounds[0].operator}` a {scalar_type(bounds[0].value)}"
            raise BadFilter(
                place, f"is a {scalar_type(value)}, and {other}; no value lies between, so give both ends of one type"
            )
        bounds.append(Bound(operator, value))
    return tuple(bounds)


def _scalar(value: Any, pointer: str, field: FilterField) -> Scalar:
    """A string, number or boolean that a field is compared with. Raises BadFilter for anything else, and for what is no
    string where the field is none but strings, so that it would pass for a condition that no item meets."""
    if value is None:
        raise BadFilter(pointer, 'is null, and null is no value; `{"exists": false}` finds where there is none')
    if isinstance(value, dict | list):
        raise BadFilter(pointer, f"is {'an object' if isinstance(value, dict) else 'a list'}; give one value")
    if isinstance(value, str):
        if fault := fault_of_text(value):
            raise BadFilter(pointer, fault)
        return value
    if field.root != "payload":
        raise BadFilter(
            pointer,
            f"is a {scalar_type(value)}, and an item's {field.root} is a string, also where a number was put; "
            f"give a string, like {json.dumps(json.dumps(value))}",
        )
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value not in _INTEGERS:
            raise BadFilter(pointer, "is an integer beyond 64 bits")
        return value
    if not math.isfinite(value):
        raise BadFilter(pointer, "is no finite number")
    return float(value)


def _no_operator(operator: str) -> str:
    text = f"is no operator; there are {_listed(_OPERATORS)}"
    if operator in _HINTS:
        return f"{text}; {_HINTS[operator]}"
    near = get_close_matches(operator[:80], _OPERATORS, n=1)
    return f"{text}. Did you mean `{near[0]}`?" if near else text


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(f'`{name}`' for name in names[:-1])} and `{names[-1]}`"
