"""One clock for all leases, the database's own: machines whose clocks differ agree on what has expired."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.storage.database import UtcDateTime, utc_now


def database_now(session: Session) -> datetime:
    """Now, by the database server; SQLite's server is this machine."""
    if session.get_bind().dialect.name == "postgresql":
        # Not now(): that is when the transaction began, and this one may have waited for a lock since.
        return session.scalars(select(func.clock_timestamp(type_=UtcDateTime()))).one()
    return utc_now()
