"""Rows of the datasets resource."""

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base, utc_now


class DatasetRow(Base):
    """A dataset; what it holds lies in the store."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    folder: Mapped[str] = mapped_column(String(80), unique=True)
    side_dimension: Mapped[int | None]
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
