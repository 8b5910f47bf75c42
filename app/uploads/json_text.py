"""JSON from bytes and text: UTF-8, with or without a byte order mark, and no member twice."""

import codecs
import json
from collections.abc import Sequence
from typing import Any

from app.problems import InvalidUpload


class BadJson(ValueError):
    """Why a text is not JSON that is taken; continues a sentence about it."""


def unique_members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook`. Parsers differ on which of two equal names counts, so neither does. Raises BadJson."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise BadJson(f"names {name[:80]!r} twice")
        members[name] = value
    return members


def _constant(name: str) -> None:
    """What Python's json writes and JSON has not: NaN is no value, as it is to pandas and to JavaScript's JSON."""
    if name != "NaN":
        raise BadJson("holds an infinity")


# Made once: json.loads makes one anew for every call with options.
_DECODER = json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=_constant)


def value_of(text: str) -> Any:
    """The value of a JSON text in a cell, with null for NaN. Raises BadJson."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BadJson(f"is not JSON: {error}") from None
    except RecursionError:
        raise BadJson("is nested too deeply") from None
    except BadJson:
        raise
    except ValueError:  # Python refuses to read integers of thousands of digits
        raise BadJson("holds an integer of thousands of digits") from None


def utf8(body: bytes) -> str:
    """The text of a JSON body, without the byte order mark that some editors put first. Raises InvalidUpload."""
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        raise InvalidUpload(f"The body is in {encoding[:6].upper()}; JSON is sent in UTF-8.")
    try:
        return body.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise InvalidUpload(f"The body is not UTF-8, first at byte {error.start}.") from None


def body_value(body: bytes) -> Any:
    """A JSON body's value; NaN and infinities pass, so that their rows can be named. Raises InvalidUpload."""
    return text_value(utf8(body), "JSON body")


def text_value(text: str, what: str) -> Any:
    """The value of a body's text; `what` names the text in problems. Raises InvalidUpload."""
    try:
        return json.loads(text, object_pairs_hook=unique_members)
    except json.JSONDecodeError as error:
        lines = error.msg == "Extra data" and what == "JSON body"
        hint = " One object a line is sent as application/x-ndjson." if lines else ""
        raise InvalidUpload(f"The {what} is not JSON: {error}.{hint}") from None
    except RecursionError:
        raise InvalidUpload(f"The {what} is nested too deeply.") from None
    except BadJson as error:
        raise InvalidUpload(f"An object of the {what} {error}.") from None
    except ValueError:  # Python refuses to read integers of thousands of digits
        raise InvalidUpload(f"The {what} holds an integer of thousands of digits.") from None
