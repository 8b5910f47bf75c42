"""How a filter names a field: `id`, `label`, or `payload` and the names of members with dots between them.

A name that holds a dot or a backtick stands between backticks, and a backtick within it is written twice: the member
`b.c` of the member `a` is ``payload.a.`b.c` ``.
"""

import re
from difflib import get_close_matches

from app.filters.expression import FilterField

_LONGEST = 1_000  # characters
_STEP = re.compile(r"\.(?:([^.`]+)|`((?:[^`]|``)*)`)(?=\.|$)", re.DOTALL)
_SHOWN = 80


class NoField(ValueError):
    """Why a name is none of a field."""


def field_named(name: str) -> FilterField:
    """The field of a name. Raises NoField."""
    if name == "id":
        return FilterField("id")
    if name == "label":
        return FilterField("label")
    if name == "payload":
        raise NoField("name a member of the payload, as `payload.<member>`")
    if not name.startswith("payload."):
        near = get_close_matches(name[:_SHOWN], ("id", "label", "payload", "labels", "ids"), n=1)
        meant = {"labels": "label", "ids": "id", "payload": "payload.<member>"}
        hint = f" Did you mean `{meant.get(near[0], near[0])}`?" if near else ""
        raise NoField(
            "is no field; there are `id`, `label` and `payload.<member>`, and `and`, `or` and `not` to combine." + hint
        )
    if len(name) > _LONGEST:
        raise NoField(f"has {len(name)} characters; at most {_LONGEST} are taken")
    place, path = len("payload"), []
    while place < len(name):
        step = _STEP.match(name, place)
        if step is None:
            raise NoField(
                "is no path: names of members stand with single dots between them, and a name that is empty, or holds "
                "a dot or a backtick, between backticks, like payload.`a.b`, where a backtick is written twice"
            )
        plain, quoted = step.groups()
        path.append(plain if plain is not None else quoted.replace("``", "`"))
        place = step.end()
    return FilterField("payload", tuple(path))
