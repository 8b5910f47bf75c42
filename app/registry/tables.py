"""Rows of the registry."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base, utc_now


class ModelRow(Base):
    """One version of an embedding model. `trained_by` is what trained it here: an upgrade, or the run of an encoder."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    dimension: Mapped[int]
    metric: Mapped[str] = mapped_column(String(8))
    queries: Mapped[str] = mapped_column(String(8), default="same", server_default="same")
    embedder: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    modality: Mapped[str | None] = mapped_column(String(64))
    description: Mapped[str | None] = mapped_column(Text)
    trained_by: Mapped[str | None] = mapped_column(String(64))
    compatible_with: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
