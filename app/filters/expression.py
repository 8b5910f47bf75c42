"""What a filter says, once it is read: conditions on fields, and how they are combined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Scalar = str | float | bool
"""What a field is compared with; whole numbers are ints, of any size, and no boolean is a number."""


@dataclass(frozen=True)
class FilterField:
    """A field of items: `id`, `label`, or the members of `payload` that a path leads to."""

    root: Literal["id", "label", "payload"]
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bound:
    """One end of a range: `gt` and `gte` are lower ends, `lt` and `lte` upper ones."""

    operator: Literal["gt", "gte", "lt", "lte"]
    value: str | float


@dataclass(frozen=True)
class FieldCondition:
    """That one of a field's values is `among` the given ones and within all `bounds`, whichever are given; and that it
    has a value, or an object, or has none (`exists`)."""

    field: FilterField
    among: tuple[Scalar, ...] | None = None
    bounds: tuple[Bound, ...] = ()
    exists: bool | None = None


@dataclass(frozen=True)
class AllOf:
    """That each part holds; of no parts, always."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    """That one of the parts holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Negation:
    """That the part does not hold."""

    part: Condition


Condition = FieldCondition | AllOf | AnyOf | Negation


def has_empty_part(condition: Condition) -> bool:
    """Whether it, or something that it is made of, is an empty filter, which holds whatever the item is."""
    match condition:
        case AllOf(parts):
            return not parts or any(map(has_empty_part, parts))
        case AnyOf(parts):
            return any(map(has_empty_part, parts))
        case Negation(part):
            return has_empty_part(part)
        case _:
            return False


def fields_of(condition: Condition) -> frozenset[FilterField]:
    """The fields that a condition looks at."""
    match condition:
        case FieldCondition(field=field):
            return frozenset({field})
        case Negation(part=part):
            return fields_of(part)
        case AllOf(parts=parts) | AnyOf(parts=parts):
            return frozenset().union(*map(fields_of, parts))


def same_scalar(one: Any, other: Any) -> bool:
    """Whether two values are equal: of one type, where every number is of one type, so that 1 is 1.0 and not true."""
    return scalar_type(one) == scalar_type(other) and bool(one == other)


def scalar_type(value: Any) -> Literal["number", "string", "boolean"]:
    """The type of a JSON value that is neither null nor a list nor an object."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"
