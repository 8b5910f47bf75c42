"""The items that answer a query: one JSON object a query, from item id to grade, kept as compact JSON.

A grade above 0 says that the item is relevant, and how much; 0 or less that it was judged and is not. A plain list of
ids gives each the grade 1.
"""

import json
import math
from typing import Any

from app.json_text import BadJson, cell_value, fault_of_text
from app.uploads.expected_columns import ID_CHARACTERS, RELEVANT_BYTES
from app.uploads.json_values import NoJson

LARGEST_GRADE = 1000

_ID_SHOWN = 80


class BadRelevant(ValueError):
    """Why a cell is no list of relevant items."""


def relevant_of_text(text: str | None) -> str | None:
    """A JSON list of ids, or a JSON object from id to grade, in canonical form. Raises BadRelevant."""
    if text is None:
        return None
    try:
        return relevant_of_value(cell_value(text))
    except BadJson as error:
        raise BadRelevant(str(error)) from None


def relevant_of_value(value: Any) -> str | None:
    """The same of a value as `json_values` makes it; a struct's null fields are items that were not judged.

    Raises BadRelevant.
    """
    if value is None:
        return None
    if isinstance(value, NoJson):
        raise BadRelevant(value.why)
    if isinstance(value, list):
        grades = _of_list(value)
    elif isinstance(value, dict):
        grades = {_item(id): _grade(id, grade) for id, grade in value.items() if grade is not None}
    else:
        raise BadRelevant("is neither a list of item ids nor an object from item id to grade")
    text = json.dumps(grades, ensure_ascii=False, separators=(",", ":"))
    if (size := len(text.encode())) > RELEVANT_BYTES:
        raise BadRelevant(f"takes {size} bytes as JSON; at most {RELEVANT_BYTES} are taken")
    return text


def _of_list(ids: list[Any]) -> dict[str, int]:
    grades: dict[str, int] = {}
    for id in ids:
        if _item(id) in grades:
            raise BadRelevant(f"names item {id[:_ID_SHOWN]!r} twice")
        grades[id] = 1
    return grades


def _item(id: Any) -> str:
    if isinstance(id, NoJson):
        raise BadRelevant(id.why)
    if not isinstance(id, str):
        raise BadRelevant("holds an item id that is no string; ids are strings, such as '7' for 7")
    if not 0 < len(id) <= ID_CHARACTERS:
        raise BadRelevant(f"holds an item id of {len(id)} characters; 1 to {ID_CHARACTERS} are taken")
    if fault := fault_of_text(id):
        raise BadRelevant(f"holds an item id that {fault}")
    return id


def _grade(id: str, grade: Any) -> int:
    if isinstance(grade, bool) or not isinstance(grade, int | float) or not math.isfinite(grade) or grade % 1:
        raise BadRelevant(f"gives item {id[:_ID_SHOWN]!r} a grade that is no whole number")
    if abs(grade) > LARGEST_GRADE:
        raise BadRelevant(f"gives item {id[:_ID_SHOWN]!r} a grade beyond {LARGEST_GRADE}")
    return int(grade)
