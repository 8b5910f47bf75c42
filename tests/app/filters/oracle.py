"""What filters let through, straight from the words of docs/search.md: one item after another, in plain Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
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
        all(compares(value, operator, wanted) for operator, wanted in comparisons.items()) for value in there
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


def compares(value: Any, operator: str, wanted: Any) -> bool:
    """Whether one value meets one condition."""
    if operator == "in":
        return any(compares(value, "eq", one) for one in wanted)
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

_MEMBERS = ["a", "b", *sorted({member for path in PATHS.values() for member in path} - {"unknown", "n", "m"})]
_WHOLE = [0, 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
_FLOATS = [-0.0, 0.1, 1.0, 5e-324, 2.0**53, 2.0**63, 1.7976931348623157e308]
_TEXTS = ["", "a", "ab", "é", "\uffff", "\U00010000", "1", "true", '"\\\n']
NUMBERS = st.sampled_from(_WHOLE) | st.sampled_from(_FLOATS) | st.floats(allow_nan=False, allow_infinity=False)
STRINGS = st.sampled_from(_TEXTS)
SCALARS = STRINGS | NUMBERS | st.booleans()

_BEYOND = st.sampled_from([2**64, -(2**70), 2**1100, 10**25])
"""Whole numbers that only payloads hold: filters take 64 bits."""

_LEAVES = SCALARS | _BEYOND | st.none()
_VALUES = st.recursive(
    _LEAVES | st.lists(_LEAVES, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_MEMBERS), inner, max_size=3),
    max_leaves=6,
)
LABELS = ["x", "y", "é", ""]
PAYLOADS = st.none() | st.dictionaries(st.sampled_from(_MEMBERS), _VALUES, max_size=4)


def items(ids: st.SearchStrategy[str]) -> st.SearchStrategy[PlainItem]:
    return st.builds(PlainItem, ids, st.none() | st.sampled_from(LABELS), PAYLOADS)


def many_items(count: int, seed: int) -> list[PlainItem]:
    """Items whose values are mostly those that filters ask for, so that most filters tell some of them from others."""
    random = Random(seed)

    def scalar() -> Any:
        return random.choice([random.choice(_TEXTS), random.choice(_WHOLE), random.choice(_FLOATS), True, False, None])

    def value(depth: int = 0) -> Any:
        chance = random.random()
        if chance < 0.45 or depth > 2:
            return scalar()
        if chance < 0.75:
            return [value(depth + 1) for _ in range(random.randrange(4))]
        return {name: value(depth + 1) for name in random.sample(_MEMBERS, 3)}

    return [
        PlainItem(
            f"i{number}",
            random.choice([None, *LABELS]),
            None if random.random() < 0.1 else {name: value() for name in random.sample(_MEMBERS, 4)},
        )
        for number in range(count)
    ]


def _range(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    ends = st.sampled_from(["gt", "gte", "lt", "lte"])
    return st.dictionaries(ends, values, min_size=1, max_size=2)


def _conditions(
    scalars: st.SearchStrategy[Any], ends: st.SearchStrategy[dict[str, Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """Mostly one condition alone: of several, few values meet all. ends: of ranges."""
    alone = st.one_of(
        st.fixed_dictionaries({"eq": scalars}),
        st.fixed_dictionaries({"in": st.lists(scalars, min_size=1, max_size=4)}),
        st.fixed_dictionaries({"exists": st.booleans()}),
        ends,
    )
    return alone | st.tuples(alone, alone).map(_together)


def _together(pair: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Both, but for a range of numbers and strings, which is none."""
    both = pair[0] | pair[1]
    ends = [type(both[name]) is str for name in both if name in ("gt", "gte", "lt", "lte")]
    return both if len(set(ends)) < 2 else pair[1]


def filters(ids: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Filters over items with these ids."""
    named = st.fixed_dictionaries(
        {},
        optional={
            "id": _conditions(st.sampled_from(ids) | STRINGS, _range(STRINGS)),
            "label": _conditions(st.sampled_from(LABELS), _range(STRINGS)),
        },
    )
    likely = st.sampled_from(["payload.a", "payload.b", "payload.a.b"]) | st.sampled_from(list(PATHS))
    payload = st.dictionaries(likely, _conditions(SCALARS, _range(NUMBERS) | _range(STRINGS)), min_size=1, max_size=2)
    leaf = payload | named | st.tuples(named, payload).map(lambda pair: pair[0] | pair[1])
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
