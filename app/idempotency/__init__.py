"""`Idempotency-Key`: a POST that starts work, sent twice, starts it once."""

from app.idempotency.once import Once, StoredAnswer

__all__ = ["Once", "StoredAnswer"]
