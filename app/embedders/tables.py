"""Rows of what was embedded, and of what that cost."""

from datetime import datetime

from sqlalchemy import BigInteger, Float, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.storage.database import Base, utc_now


class KeptVectorRow(Base):
    """The vector of one text by one embedder, kept as soon as it came. `key` is a digest of everything that it depends
    on; the text itself is not kept. `vector`: float32, little-endian."""

    __tablename__ = "kept_vectors"

    key: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)


class EmbeddingSpendingRow(Base):
    """What one piece of work has spent on embedding, with what it may yet have to pay for requests under way."""

    __tablename__ = "embedding_spending"

    subject: Mapped[str] = mapped_column(String(128), primary_key=True)
    items: Mapped[int] = mapped_column(default=0)
    tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    money: Mapped[float] = mapped_column(Float, default=0.0)
