"""The paths of the service's URLs: whatever an id holds, it is one segment, and the service reads that very id."""

import re
from urllib.parse import quote

from app.cli.ending import refuse
from app.id_pattern import ID_PATTERN

_ID = re.compile(ID_PATTERN)


def path_to(kind: str, id: str, *rest: str) -> str:
    """The path of a model, gallery, dataset, upgrade or evaluation, or of what is under it: `path_to("models", "m")`.

    Ends the command where no such thing can have the id, so that the service is never asked about another.
    """
    if not _ID.fullmatch(id) or id.endswith("\n"):
        refuse(
            f"{id!r} is no id: an id has 1 to 63 characters, a-z, 0-9, '.', '_' and '-', and begins with a letter or "
            f"a digit. `crosswalk {kind} list` shows those there are."
        )
    return path_of(kind, id, *rest)


def path_of(*segments: str) -> str:
    """The path of these segments, each percent-encoded: `/`, `?`, `#` and `%` in one stay in it, as do `.` and `..`."""
    return "".join(f"/{_segment(segment)}" for segment in segments)


def _segment(text: str) -> str:
    # Dots are legal as they are, but a segment of nothing else would be taken for a step in the path.
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="", errors="surrogateescape")
