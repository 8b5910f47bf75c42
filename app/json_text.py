"""JSON from bytes and text: one reader for every body, cell and parameter, and one set of words for what is refused."""

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from app.problems import BadRequest, Unprocessable

_NUL_OR_SURROGATE = re.compile("[\0\ud800-\udfff]")
_INTEGERS = range(-(2**63), 2**63)
_ERRORS_SHOWN = 20
_TWICE = "is given twice; JSON leaves open which of the two is meant"


class BadJson(ValueError):
    """Why a text is not JSON that is taken; continues a sentence about it."""


class _GivenTwice(BadJson):
    """A member that one object has twice."""


class _Members(list[tuple[str, Any]]):
    """An object's members as they are written: those of one name are all there."""


def _unique_members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook`. Parsers differ on which of two equal names counts, so neither does. Raises BadJson."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise _GivenTwice(f"names {name[:80]!r} twice")
        members[name] = value
    return members


def _null_for_nan(name: str) -> None:
    """What Python's json writes and JSON has not: NaN is no value, as it is to pandas and to JavaScript's JSON."""
    if name != "NaN":
        raise BadJson("holds an infinity")


# Made once: json.loads makes one anew for every call with options.
_BODIES = json.JSONDecoder(object_pairs_hook=_unique_members)
_CELLS = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_null_for_nan)
_AS_WRITTEN = json.JSONDecoder(object_pairs_hook=_Members)


def cell_value(text: str) -> Any:
    """The value of a JSON text in a cell, with null for NaN. Raises BadJson."""
    return _decoded(text, _CELLS)


def body_value(text: str, what: str = "body", *, problem: Callable[[str], BadRequest] = BadRequest) -> Any:
    """The value of a body's text; NaN and infinities pass, so that their places can be named.

    what: what the text is called in problems. Raises `problem` for what is no JSON, and Unprocessable, which names the
    places, for members that an object has twice.
    """
    try:
        return _decoded(text, _BODIES)
    except _GivenTwice:
        # Read again for the places: with them, every body would take several times as long.
        places = (place for place in _faults(_decoded(text, _AS_WRITTEN)) if place[1] == _TWICE)
        raise _wrong(_shown(places), f"The {what}, at ") from None
    except BadJson as error:
        raise problem(f"The {what} {error}.") from None


def check_json(body: bytes) -> None:
    """Refuses a JSON body that parses, and yet says what can neither be stored nor compared.

    Half a surrogate pair (what JavaScript's `substring` leaves of an emoji), the NUL character (PostgreSQL stores
    none), NaN and infinities, integers beyond 64 bits, and members that one object has twice. Raises Unprocessable,
    which names each place; BadRequest where the body is no JSON at all.
    """
    try:
        value = _decoded(utf8(body), _AS_WRITTEN)
    except BadJson as error:
        raise BadRequest(f"The body {error}.") from None
    if errors := _shown(_faults(value)):
        raise _wrong(errors)


def utf8(body: bytes, *, problem: Callable[[str], BadRequest] = BadRequest) -> str:
    """The text of a JSON body, without the byte order mark that some editors put first. Raises `problem`."""
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        raise problem(f"The body is in {encoding[:6].upper()}; JSON is sent in UTF-8.")
    try:
        # As Python's json does: half a character that is written in bytes is then named at its place.
        return body.removeprefix(codecs.BOM_UTF8).decode(errors="surrogatepass")
    except UnicodeDecodeError as error:
        raise problem(f"The body {why_unreadable(error)}.") from None


def why_unreadable(error: BaseException) -> str:
    """What an error of Python's json says of the text; continues a sentence about it."""
    match error:
        case UnicodeDecodeError():
            return f"is not UTF-8, first at byte {error.start}"
        case RecursionError():
            return "is nested too deeply"
        case json.JSONDecodeError():
            return f"is not valid JSON: {error}"
        case ValueError():  # Python refuses to read integers of thousands of digits
            return "holds an integer of thousands of digits"
    return "is not the JSON that its Content-Type promises"


def fault_of_text(text: str) -> str | None:
    """What is wrong with a text that cannot be stored; None where nothing is."""
    bad = _NUL_OR_SURROGATE.search(text)
    if bad is None:
        return None
    if bad.group() == "\0":
        return "holds the NUL character, which cannot be stored"
    return f"holds half a character (\\u{ord(bad.group()):04x} without its other half), which is no text"


def pointer_step(step: str) -> str:
    """One step of a JSON pointer (RFC 6901), cut short where it is long."""
    return step[:200].replace("~", "~0").replace("/", "~1")


def _decoded(text: str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(text)
    except BadJson:
        raise
    except (ValueError, RecursionError) as error:
        raise BadJson(why_unreadable(error)) from None


def _shown(faults: Iterator[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"pointer": pointer, "message": message} for pointer, message in islice(faults, _ERRORS_SHOWN)]


def _wrong(errors: list[dict[str, str]], start: str = "") -> Unprocessable:
    return Unprocessable(f"{start}{errors[0]['pointer'] or 'The body'}: {errors[0]['message']}.", errors=errors)


def _faults(value: Any) -> Iterator[tuple[str, str]]:
    """Each place (a JSON pointer) with what is wrong there, in the order of the document, however deep it is nested."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, _Members):
            names = set()
            for name, _ in value:
                place = f"{pointer}/{pointer_step(name)}"
                if name in names:
                    yield place, _TWICE
                if fault := fault_of_text(name):
                    yield place, f"its name {fault}"
                names.add(name)
            waiting += [(f"{pointer}/{pointer_step(name)}", member) for name, member in reversed(value)]
        elif isinstance(value, list):
            waiting += [(f"{pointer}/{place}", value[place]) for place in reversed(range(len(value)))]
        elif fault := _fault(value):
            yield pointer, fault


def _fault(value: str | float | bool | None) -> str | None:
    if isinstance(value, str):
        return fault_of_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "is no finite number"
    if isinstance(value, int) and value not in _INTEGERS:
        return "is an integer beyond 64 bits"
    return None
