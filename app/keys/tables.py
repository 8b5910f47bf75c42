"""Rows of the keys."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base, utc_now


class ApiKeyRow(Base):
    """A key, without its secret. One that was revoked stays: a service that had keys never becomes one without."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    hash: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    galleries: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    datasets: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    rate: Mapped[str | None] = mapped_column(String(64))
    concurrency: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    """To come where it was rotated, and is taken for a while beside the key that replaces it."""
    last_used_at: Mapped[datetime | None]
