"""Rows of the side-information resource."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base, utc_now


class SideInformationEncoderRow(Base):
    """An encoder of side-information: what was asked, how far it is, and what was learned.

    `id` is the encoder's own id in the registry of models; `model` the one that it was trained to accompany. `run`
    names this attempt at training it: the subject of its job, and the folder of its artifact.
    """

    __tablename__ = "side_information_encoders"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    model: Mapped[str] = mapped_column(String(63), index=True)
    run: Mapped[str] = mapped_column(String(64), unique=True)
    request: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    learned: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
