"""What an exception in a step says: whether trying again may heal it, and what to tell the person who asked.

The same step on the same data raises the same exception. So what comes of the data ends the step at once, with one
sentence; what comes of the surroundings (files, connections, the database) is tried again as often as the settings
allow; anything else, such as a mistake in the step itself, twice in all.
"""

from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.problems import Problem
from app.storage.away import is_away
from app.storage.lance_table import TableGone, VersionGone, is_conflict
from models.portable import ArtifactError

UNLIKELY_TO_HEAL = 70
"""The exit status of a step that an exception ended which may well come again (sysexits' EX_SOFTWARE)."""

_MAY_HEAL = (OSError, DisconnectionError, PoolTimeout, VersionGone, TableGone)
_OF_THE_DATA = (ArithmeticError, ValueError, ArtifactError)
_LINEAR_ALGEBRA = "LinAlgError"
"""How numpy's and torch's exceptions are called; torch's is of no public class."""
_UNAVAILABLE = (503, 507)
_LONGEST = 300


def may_heal(error: BaseException) -> bool:
    """Whether the same step may succeed when it is tried again, for all that is known."""
    if isinstance(error, Problem):
        return error.status in _UNAVAILABLE
    if isinstance(error, DBAPIError):
        return is_away(error)
    return isinstance(error, _MAY_HEAL) or is_conflict(error)


def reason_of_data(error: Exception) -> str | None:
    """Why a step cannot be done with its data, in plain words; None where the exception is not known to be of that."""
    if may_heal(error):
        return None
    if isinstance(error, Problem):
        return error.detail
    if not (isinstance(error, _OF_THE_DATA) or type(error).__name__.endswith(_LINEAR_ALGEBRA)):
        return None
    what = " ".join(str(error).split())[:_LONGEST].rstrip(".") or "a calculation came to nothing"
    return (
        f"This cannot be worked out from the data as it is: {what}. Look for vectors that are constant, all zero, of "
        "huge numbers or the same in every row; the log of the worker says where it happened. It was not tried again, "
        "since it would fail again."
    )
