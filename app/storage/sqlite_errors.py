"""The kind of error that SQLite reports, of which its extended error codes hold more than is asked for."""

from __future__ import annotations

_PRIMARY = 0xFF
"""The part of an extended code that is the kind of error; Python names the kinds (`sqlite3.SQLITE_*`), not the mask."""


def sqlite_error_kind(error: BaseException | None) -> int | None:
    """One of `sqlite3.SQLITE_FULL`, `sqlite3.SQLITE_BUSY` and so on; None where the error is not one of SQLite's."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY
