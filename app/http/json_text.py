"""What JSON may say and no field may hold: half characters, NUL, NaN, endless numbers, a member given twice."""

import json
import math
import re
from collections.abc import Iterator
from email.message import Message
from typing import Any, NoReturn

from app.problems import BadRequest, Unprocessable

_NUL_OR_SURROGATE = re.compile("[\0\ud800-\udfff]")
_INTEGERS = range(-(2**63), 2**63)
_ERRORS_SHOWN = 20


class _Members(list[tuple[str, Any]]):
    """An object's members as they are written: those of one name are all there."""


def check_json(body: bytes) -> None:
    """Refuses a JSON body that parses, and yet says what can neither be stored nor compared.

    Half a surrogate pair (what JavaScript's `substring` leaves of an emoji), the NUL character (PostgreSQL stores
    none), NaN and infinities, integers beyond 64 bits, and members that one object has twice. Raises Unprocessable,
    which names each place; BadRequest where the body is no JSON at all.
    """
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        _unreadable(f"it is in {encoding[:6].upper()}, and JSON is sent in UTF-8")
    try:
        value = json.loads(body, object_pairs_hook=_Members)
    except RecursionError:
        _unreadable("it is nested too deeply")
    except ValueError as error:  # an integer of thousands of digits is one as well
        _unreadable(str(error))
    errors = []
    for pointer, message in _faults(value):
        errors.append({"pointer": pointer, "message": message})
        if len(errors) == _ERRORS_SHOWN:
            break
    if errors:
        raise Unprocessable(f"{errors[0]['pointer'] or 'The body'}: {errors[0]['message']}.", errors=errors)


def is_json(content_type: str) -> bool:
    """Whether a Content-Type names JSON as FastAPI takes it: application/json, or one that ends in +json."""
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


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


def _unreadable(why: str) -> NoReturn:
    raise BadRequest(f"The body cannot be read: {why}.") from None


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
                    yield place, "is given twice; JSON leaves open which of the two is meant"
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
