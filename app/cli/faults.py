"""What went wrong around a command, as a line for a person; what is a fault of the command keeps its traceback."""

from sqlalchemy.exc import DBAPIError

from app.problems import Problem
from app.storage.away import is_away


def fault_line(error: Exception) -> str | None:
    """The line for a problem, or a database that cannot be reached or used; None for any other error."""
    if isinstance(error, Problem):
        return error.detail
    if isinstance(error, DBAPIError):
        why = " ".join(str(error.orig).split()).rstrip(".")
        if not is_away(error):
            return f"The database cannot be used: {why}."
        return f"The database cannot be reached: {why}. Does CROSSWALK_DATABASE_URL name it, and is it running?"
    return None
