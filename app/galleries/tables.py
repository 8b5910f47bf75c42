"""Rows of the galleries resource: a gallery, and its generations."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base, utc_now


class GalleryRow(Base):
    """A gallery and the generation that it points at. `store`: where its items lie, if in a store of the user's own, as
    the request said it; None where they lie here."""

    __tablename__ = "galleries"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    folder: Mapped[str] = mapped_column(String(80), unique=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.id"))
    side_dimension: Mapped[int | None]
    index_options: Mapped[dict[str, Any]]
    store: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    active: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class GenerationRow(Base):
    """One searchable state of a gallery: a space, and how to get its vectors from the items.

    `parent` and `transformation` say where the vectors come from: generation 1 holds the vectors as they were given;
    every other holds the parent's, transformed. Everything else is derived and can be made again. `in_store`: of a
    generation whose vectors lie in a store of the user's own, how far they were written there.
    """

    __tablename__ = "generations"

    gallery: Mapped[str] = mapped_column(ForeignKey("galleries.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model: Mapped[str] = mapped_column(ForeignKey("models.id"))
    parent: Mapped[int | None]
    upgrade: Mapped[str | None] = mapped_column(String(64))
    transformation: Mapped[str | None] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16))
    store_version: Mapped[int | None]
    index_name: Mapped[str | None] = mapped_column(String(64))
    in_store: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    ready_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]

    # One upgrade makes at most one generation of a gallery, however often its step is repeated.
    __table_args__ = (
        Index(
            "uq_generations_gallery_upgrade",
            "gallery",
            "upgrade",
            unique=True,
            sqlite_where=text("upgrade IS NOT NULL"),
        ),
    )


class ItemTrafficRow(Base):
    """How often searches found an item, by its row in the gallery's table of items."""

    __tablename__ = "item_traffic"

    gallery: Mapped[str] = mapped_column(String(63), ForeignKey("galleries.id", ondelete="CASCADE"), primary_key=True)
    row: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    found: Mapped[int] = mapped_column(BigInteger)
