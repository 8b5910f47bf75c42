"""`Idempotency-Key`: a POST that starts work, sent twice, starts it once."""

from app.idempotency.once import Answer, Once

__all__ = ["Answer", "Once"]
