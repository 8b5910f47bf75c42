"""The JSON Schema of filters, as the interface's documentation shows it; `parsing` is what reads them."""

from typing import Any

from app.filters.parsing import DEEPEST, MOST_CONDITIONS, MOST_VALUES

_COMPONENTS = "#/components/schemas"
_EXAMPLES: list[dict[str, Any]] = [
    {"label": {"eq": "billing"}},
    {"payload.price": {"gte": 3, "lt": 10}, "payload.lang": {"in": ["de", "fr"]}},
    {"or": [{"id": {"in": ["q-1", "q-2"]}}, {"not": {"payload.seen_at": {"exists": True}}}]},
]
_SEVERAL = {"type": "array", "minItems": 1, "items": {"$ref": f"{_COMPONENTS}/Filter"}}
_ONE = {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]}
_VALUES: dict[str, Any] = {"type": "array", "minItems": 1, "items": _ONE}
_TEXTS: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"type": "string"}}
_END = {"anyOf": [{"type": "number"}, {"type": "string"}]}
_CONDITIONS = {"$ref": f"{_COMPONENTS}/FilterConditions"}
_TEXT_CONDITIONS = {"$ref": f"{_COMPONENTS}/FilterTextConditions"}

SCHEMAS: dict[str, dict[str, Any]] = {
    "Filter": {
        "title": "Filter",
        "type": "object",
        "description": "Which items may be found: all that is named must hold. Fields are `id`, `label` and "
        "`payload.<member>`, with dots between the names of nested members, and backticks around a name that holds a "
        f"dot itself: ``payload.`a.b` ``. At most {MOST_CONDITIONS} conditions, {MOST_VALUES:,} values in lists, and "
        f"{DEEPEST} levels of `and`, `or` and `not`.",
        "properties": {
            "id": _TEXT_CONDITIONS,
            "label": _TEXT_CONDITIONS,
            "ids": _TEXTS | {"minItems": 0, "description": "Short for `in` of `id`."},
            "labels": _TEXTS | {"minItems": 0, "description": "Short for `in` of `label`."},
            "and": _SEVERAL | {"description": "Each of these must hold."},
            "or": _SEVERAL | {"description": "One of these must hold."},
            "not": {"$ref": f"{_COMPONENTS}/Filter", "description": "This must not hold."},
        },
        "patternProperties": {r"^payload(\.([^.`]+|`([^`]|``)*`))+$": _CONDITIONS},
        "additionalProperties": False,
        "examples": _EXAMPLES,
    },
    "FilterConditions": {
        "title": "FilterConditions",
        "type": "object",
        "description": "What a field's value must be: all that is given must hold of one value. Of a list, each "
        "element is a value; null is none. Numbers, strings and booleans are never equal to each other.",
        "properties": {
            "eq": _ONE | {"description": "Equal to this."},
            "in": _VALUES | {"description": "Equal to one of these."},
            "gt": _END | {"description": "Greater than this number; or after this string, by code points."},
            "gte": _END | {"description": "As `gt`, or equal."},
            "lt": _END | {"description": "Less than this number; or before this string, by code points."},
            "lte": _END | {"description": "As `lt`, or equal."},
            "exists": {"type": "boolean", "description": "Whether the field is there and not null, or is not."},
        },
        "minProperties": 1,
        "additionalProperties": False,
    },
    "FilterTextConditions": {
        "title": "FilterTextConditions",
        "type": "object",
        "description": "What an item's id or label must be, which is a string: all that is given must hold.",
        "properties": {
            "eq": {"type": "string", "description": "Equal to this."},
            "in": _TEXTS | {"description": "Equal to one of these."},
            "gt": {"type": "string", "description": "After this string, by code points."},
            "gte": {"type": "string", "description": "As `gt`, or equal."},
            "lt": {"type": "string", "description": "Before this string, by code points."},
            "lte": {"type": "string", "description": "As `lt`, or equal."},
            "exists": {"type": "boolean", "description": "Whether there is one."},
        },
        "minProperties": 1,
        "additionalProperties": False,
    },
}
"""By name, as they stand among the document's components."""

IN_TEXT: dict[str, Any] = {
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": f"{_COMPONENTS}/Filter"},
}
"""What the schema of a string says that holds a filter as JSON."""


def with_filter(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a body whose member `filter` is a filter, or null, with the definitions that this takes."""
    member = {"anyOf": [{"$ref": f"{_COMPONENTS}/Filter"}, {"type": "null"}], "default": None}
    return schema | {"properties": schema["properties"] | {"filter": member}, "$defs": SCHEMAS}
