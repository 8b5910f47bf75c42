"""Rows of the idempotency keys."""

from datetime import datetime

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base, utc_now


class IdempotencyKeyRow(Base):
    """A key that was used, for what, and what was answered. `status` is null only inside the transaction at work."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    operation: Mapped[str] = mapped_column(String(512), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    headers: Mapped[dict[str, str] | None] = mapped_column(JSON)
    body: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
