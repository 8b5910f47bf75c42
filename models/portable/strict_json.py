"""JSON of files that nobody vouches for: what it says is said once, and nothing of it is more than Python can read."""

from __future__ import annotations

import json
from typing import Any

_SHOWN_CHARACTERS = 60


def strict_json(text: str | bytes) -> Any:
    """The value that a JSON text holds. Raises ValueError where it is none, where an object has a key twice, which
    readers take for different things, and where it is nested too deeply to be read."""
    try:
        return json.loads(text, object_pairs_hook=_each_key_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def shown(value: object) -> str:
    """What a message shows of a value that was read: enough to recognise it, and no more."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in value if keys.count(key) > 1)
        raise ValueError(f"{shown(twice)} is named twice")
    return value
