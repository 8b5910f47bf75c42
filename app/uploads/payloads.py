"""Payloads: one JSON object a row, kept as compact JSON with its members in the order given."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from app.uploads.expected_columns import PAYLOAD_BYTES

_DEEPEST = 100
"""What is stored is answered as well, and pydantic writes no JSON of more than 255 levels."""


class BadPayload(ValueError):
    """Why a cell is no payload."""


class RepeatedMember(ValueError):
    """An object names a member twice: parsers differ on which counts, so neither does."""


def unique_members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook`. Raises RepeatedMember."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise RepeatedMember(f"names {name[:80]!r} twice")
        members[name] = value
    return members


# Made once: json.loads and json.dumps make them anew for every call with options.
_DECODER = json.JSONDecoder(object_pairs_hook=unique_members)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def of_text(text: str | None) -> str | None:
    """A JSON object in canonical form. Raises BadPayload."""
    if text is None:
        return None
    try:
        return _canonical(_DECODER.decode(text))
    except json.JSONDecodeError as error:
        raise BadPayload(f"is not JSON: {error}") from None
    except RepeatedMember as error:
        raise BadPayload(str(error)) from None
    except RecursionError:
        raise BadPayload("is nested too deeply") from None
    except BadPayload:
        raise
    except ValueError:  # Python refuses to read integers of thousands of digits
        raise BadPayload("holds an integer of thousands of digits") from None


def of_struct(cell: pa.Scalar) -> str | None:
    """An Arrow struct as a JSON object; fields that a row leaves out are null. Raises BadPayload."""
    try:
        value = cell.as_py()
    except (ValueError, OverflowError, NotImplementedError) as error:
        raise BadPayload(f"is no JSON object: {error}") from None
    return None if value is None else _canonical(value)


def _canonical(content: Any) -> str:
    if not isinstance(content, dict):
        raise BadPayload("is no JSON object")
    try:
        text = _ENCODER.encode(content)
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadPayload("holds a lone surrogate, which is no character") from None
    except ValueError:
        raise BadPayload("holds NaN or an infinity") from None
    except TypeError as error:
        raise BadPayload(f"holds what JSON has not: {error}") from None
    except RecursionError:
        raise BadPayload("is nested too deeply") from None
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
