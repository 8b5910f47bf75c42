"""A problem that the service answered, as one line for a person: what kind, what was wrong, and where."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_PLACES_SHOWN = 5
_SERVER_ERRORS = 500


def problem_line(body: object) -> str | None:
    """The line; None where the body is no problem (RFC 9457). It holds nothing that a terminal would act on."""
    if not isinstance(body, dict) or not isinstance(body.get("detail"), str) or not isinstance(body.get("title"), str):
        return None
    line = f"{body['title']}: {body['detail']}"
    # What the detail tells already is not told twice.
    told = list(_places(body))
    if len(told) == 1 and told[0].message in line:
        told = [_Told(told[0].place, "")]
    more = [one.text for one in told if one.text not in line]
    if more:
        line += f" [{'; '.join(more[:_PLACES_SHOWN])}{'; …' if len(more) > _PLACES_SHOWN else ''}]"
    status = body.get("status")
    if isinstance(status, int) and status >= _SERVER_ERRORS and body.get("request_id"):
        line += f" (request_id {body['request_id']})"
    return "".join(character if character.isprintable() else "�" for character in " ".join(line.split()))


@dataclass(frozen=True)
class _Told:
    """What is wrong, and where; either may be empty."""

    place: str
    message: str

    @property
    def text(self) -> str:
        return ": ".join(filter(None, (self.place, self.message)))


def _places(body: Mapping[str, Any]) -> Iterator[_Told]:
    """What is wrong where, and what needs the thing: each entry of the problem's `errors` and `used_by`."""
    for one in _entries(body, "errors"):
        if isinstance(one, dict):
            place = one.get("pointer") or one.get("parameter")
            where = (
                str(place) if place else ", ".join(f"{name} {one[name]}" for name in ("row", "column") if name in one)
            )
            yield _Told(where, str(one.get("message", "")))
    yield from (_Told("", str(one)) for one in _entries(body, "used_by"))


def _entries(body: Mapping[str, Any], member: str) -> list[Any]:
    entries = body.get(member)
    return entries if isinstance(entries, list) else []
