"""Run by Alembic inside the transaction that `app.storage.migrate` (or `python -m migrations`) opened."""

from typing import Any, Literal

from alembic import context

from app.storage.database import UtcDateTime
from app.tables import metadata


def render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A revision is history: it must not change when our types do."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_item=render,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
