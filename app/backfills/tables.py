"""Rows of backfills that are run."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base, utc_now


class BackfillRunRow(Base):
    """A backfill of one generation of a gallery, which goes with the gallery."""

    __tablename__ = "backfill_runs"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    gallery: Mapped[str] = mapped_column(String(63), ForeignKey("galleries.id", ondelete="CASCADE"), index=True)
    generation: Mapped[int]
    request: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
