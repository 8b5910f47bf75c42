"""What filters let through, straight from the words of docs/search.md: one item after another, in plain Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class PlainItem:
    """An item as users give it."""

    id: str
    label: str | None = None
    payload: dict[str, Any] | None = None

    @property
    def text(self) -> str | None:
        """The payload as it is stored."""
        return None if self.payload is None else json.dumps(self.payload, ensure_ascii=False, separators=(",", ":"))


def holds(filter: dict[str, Any], item: PlainItem) -> bool:
    """Whether a filter lets an item through."""
    return all(_holds(name, said, item) for name, said in filter.items())


def _holds(name: str, said: Any, item: PlainItem) -> bool:
    if name == "and":
        return all(holds(part, item) for part in said)
    if name == "or":
        return any(holds(part, item) for part in said)
    if name == "not":
        return not holds(said, item)
    there = _reached(name, item)
    exists = said.get("exists")
    if exists is not None and exists != bool(there):
        return False
    comparisons = {operator: value for operator, value in said.items() if operator != "exists"}
    return not comparisons or any(
        all(_compares(value, operator, wanted) for operator, wanted in comparisons.items()) for value in there
    )


def _reached(name: str, item: PlainItem) -> list[Any]:
    """What a field holds: objects, strings, numbers and booleans."""
    if name in ("id", "label"):
        return [value for value in (getattr(item, name),) if value is not None]
    level: list[Any] = [item.payload]
    for member in PATHS[name]:
        level = [value[member] for value in _elements(level) if isinstance(value, dict) and member in value]
    return _elements(level)


def _elements(values: list[Any]) -> list[Any]:
    """The values, with the elements of lists in place of the lists, and no nulls."""
    flat: list[Any] = []
    for value in values:
        flat += _elements(value) if isinstance(value, list) else [] if value is None else [value]
    return flat


def _kind(value: Any) -> str:
    return {bool: "boolean", int: "number", float: "number", str: "string", dict: "object"}[type(value)]


def _compares(value: Any, operator: str, wanted: Any) -> bool:
    if operator == "in":
        return any(_compares(value, "eq", one) for one in wanted)
    if _kind(value) != _kind(wanted):
        return False
    if operator == "eq":
        return bool(value == wanted)
    # Python compares whole numbers with floats exactly, and strings by code point.
    return bool({"gt": value > wanted, "gte": value >= wanted, "lt": value < wanted, "lte": value <= wanted}[operator])


PATHS: dict[str, tuple[str, ...]] = {
    "payload.a": ("a",),
    "payload.b": ("b",),
    "payload.a.b": ("a", "b"),
    "payload.a.a.b": ("a", "a", "b"),
    "payload.`a.b`": ("a.b",),
    "payload.`a.b`.é😀": ("a.b", "é😀"),
    "payload.b.`x``y`": ("b", "x`y"),
    "payload.``": ("",),
    "payload.unknown": ("unknown",),
    "payload.n": ("n",),
    "payload.m": ("m",),
}
"""Names of fields, and the members that they mean."""

_MEMBERS = sorted({member for path in PATHS.values() for member in path} - {"unknown", "n", "m"})
_WHOLE = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**62 + 1, 2**63 - 1, -(2**63), 9_007_199_254_740_994]
_FLOATS = [0.0, -0.0, 0.1, 1.0, 1.5, 5e-324, -1e-310, 2.0**53, 2.0**63, 1.7976931348623157e308, -1e300, 1e22]
_TEXTS = ["", "a", "ab", "b", "é", "z", "\uffff", "\U00010000", "😀", "1", "true", "a\\", '"', "\n"]
NUMBERS = st.sampled_from(_WHOLE) | st.sampled_from(_FLOATS) | st.floats(allow_nan=False, allow_infinity=False)
STRINGS = st.sampled_from(_TEXTS)
SCALARS = STRINGS | NUMBERS | st.booleans()

_BEYOND = st.sampled_from([2**64, -(2**70), 2**1100, 10**25])
"""Whole numbers that only payloads hold: filters take 64 bits."""

_VALUES = st.recursive(
    SCALARS | _BEYOND | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_MEMBERS), inner, max_size=3),
    max_leaves=6,
)
LABELS = ["x", "y", "é", ""]
PAYLOADS = st.none() | st.dictionaries(st.sampled_from(_MEMBERS), _VALUES, max_size=4)


def items(ids: st.SearchStrategy[str]) -> st.SearchStrategy[PlainItem]:
    return st.builds(PlainItem, ids, st.none() | st.sampled_from(LABELS), PAYLOADS)


def _range(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(("gt", "gte", "lt", "lte"), values))


def _conditions(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    others = st.fixed_dictionaries(
        {}, optional={"eq": scalars, "in": st.lists(scalars, min_size=1, max_size=4), "exists": st.booleans()}
    )
    return st.tuples(others, _range(NUMBERS) | _range(STRINGS)).map(lambda pair: pair[0] | pair[1]).filter(bool)


def filters(ids: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Filters over items with these ids."""
    named = st.fixed_dictionaries(
        {},
        optional={
            "id": _conditions(st.sampled_from(ids) | STRINGS),
            "label": _conditions(st.sampled_from(LABELS)),
        },
    )
    payload = st.dictionaries(st.sampled_from(list(PATHS)), _conditions(SCALARS), max_size=2)
    leaf = st.tuples(named, payload).map(lambda pair: pair[0] | pair[1])
    return st.recursive(
        leaf,
        lambda inner: st.tuples(
            st.fixed_dictionaries(
                {},
                optional={
                    "and": st.lists(inner, min_size=1, max_size=3),
                    "or": st.lists(inner, min_size=1, max_size=3),
                    "not": inner,
                },
            ),
            leaf,
        ).map(lambda pair: pair[0] | pair[1]),
        max_leaves=5,
    )
