"""Payloads: one JSON object a row, kept as compact JSON with its members in the order given."""

import json
import re
from typing import Any, NoReturn

from app.json_text import BadJson, cell_value, fault_of_text
from app.uploads.expected_columns import PAYLOAD_BYTES
from app.uploads.json_values import NoJson

_DEEPEST = 100
"""What is stored is answered as well, and pydantic writes no JSON of more than 255 levels."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The NUL character as JSON writes it: what follows an escaped backslash is not it."""


class BadPayload(ValueError):
    """Why a cell is no payload."""


def of_text(text: str | None) -> str | None:
    """A JSON object in canonical form. Raises BadPayload."""
    if text is None:
        return None
    try:
        return _canonical(cell_value(text))
    except BadJson as error:
        raise BadPayload(str(error)) from None


def of_value(value: Any) -> str | None:
    """What `json_values` made of a cell, in canonical form; fields left out are null. Raises BadPayload."""
    return None if value is None else _canonical(value)


def _refuse(value: Any) -> NoReturn:
    """What the encoder calls for a value that JSON has not."""
    raise BadPayload(value.why if isinstance(value, NoJson) else f"holds a {type(value).__name__}, which JSON has not")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_refuse)


def _canonical(content: Any) -> str:
    if isinstance(content, NoJson):
        _refuse(content)
    if not isinstance(content, dict):
        raise BadPayload("is no JSON object")
    try:
        text = _ENCODER.encode(content)
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadPayload(str(fault_of_text(text))) from None
    except BadPayload:
        raise
    except ValueError:
        raise BadPayload("holds an infinity, which JSON has not") from None
    except RecursionError:
        raise BadPayload("is nested too deeply") from None
    if "\\u0000" in text and _NUL.search(text):
        raise BadPayload(str(fault_of_text("\0")))
    if size > PAYLOAD_BYTES:
        raise BadPayload(f"takes {size} bytes as JSON; at most {PAYLOAD_BYTES} are taken")
    if text.count("{") + text.count("[") > _DEEPEST and _deeper(content):
        raise BadPayload(f"is nested too deeply: more than {_DEEPEST} objects and lists inside one another")
    return text


def _deeper(content: Any) -> bool:
    """Whether more than `_DEEPEST` objects and lists are inside one another."""
    level = [content]
    for _ in range(_DEEPEST):
        members = [value.values() if isinstance(value, dict) else value for value in level]
        level = [value for several in members for value in several if isinstance(value, dict | list)]
    return bool(level)
