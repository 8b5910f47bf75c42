"""The tags of a Lance table: each keeps a version readable for as long as it is there."""

from collections.abc import Callable

import lance

from app.failpoints import Failpoint, reached

_ATTEMPTS = 8
_EXISTS, _GONE = "already exists", "not found"

Latest = Callable[[], lance.LanceDataset]
"""A handle of the caller's own at a table's newest version."""


def set_tag(latest: Latest, name: str, version: int) -> None:
    """Keeps a version readable until `remove_tag`; tagging again moves the tag."""
    tags = latest().tags
    # Never listed first: Lance reads each tag that it lists, and another process may remove one meanwhile.
    try:
        tags.create(name, version)
    except ValueError as error:
        if not _says(error, _EXISTS):
            raise
        tags.update(name, version)
    reached(Failpoint.VERSION_TAGGED)


def tag_names(latest: Latest) -> list[str]:
    """The names of all tags."""
    for _ in range(_ATTEMPTS):
        try:
            return list(latest().tags.list())
        except ValueError as error:  # one was removed while they were read
            if not _says(error, _GONE):
                raise
    return list(latest().tags.list())


def remove_tag(latest: Latest, name: str) -> None:
    """Removes a tag, if there is one. A table that is gone has none."""
    try:
        latest().tags.delete(name)
    except ValueError as error:
        if not _says(error, _GONE):
            raise
        return
    reached(Failpoint.VERSION_UNTAGGED)


def _says(error: Exception, what: str) -> bool:
    """Whether an error of Lance, which has one class for many, says this."""
    return what in str(error).lower()
