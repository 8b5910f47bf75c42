"""Rows of the upgrades resource."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base, utc_now
from app.upgrades.states import UpgradeState


class UpgradeRow(Base):
    """An upgrade: what was asked, how far it is, and what was found.

    `served_as` is FUSED where the gate accepted the crossing only fused with the old model's queries.

    `source` and `target` name models that may be no more, once it has ended: history keeps nothing from being deleted.
    """

    __tablename__ = "upgrades"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str] = mapped_column(String(63), index=True)
    target: Mapped[str] = mapped_column(String(63), index=True)
    request: Mapped[dict[str, Any]]
    galleries: Mapped[list[Any]]
    state: Mapped[str] = mapped_column(String(16), default=UpgradeState.QUEUED, index=True)
    reason: Mapped[str | None] = mapped_column(Text)
    served_as: Mapped[str | None] = mapped_column(String(16))
    learned: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    proofs: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)

    @property
    def strategy(self) -> str:
        return str(self.request["strategy"])


class TransformUnitRow(Base):
    """A unit of an upgrade's transformation: slices (fragment, start, rows) of a gallery's items as of a version.

    `holder` is the lease token of the job of whoever does it; `pieces`, once it is done, what was written.
    """

    __tablename__ = "transform_units"

    upgrade: Mapped[str] = mapped_column(String(64), ForeignKey("upgrades.id", ondelete="CASCADE"), primary_key=True)
    gallery: Mapped[str] = mapped_column(String(63), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    generation: Mapped[int]
    version: Mapped[int]
    slices: Mapped[list[Any]]
    rows: Mapped[int]
    holder: Mapped[str | None] = mapped_column(String(32))
    pieces: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
