"""How long an answer asks to be left alone (RFC 9110, 10.2.3): seconds, or a date."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def seconds_to_wait(header: str | None, now: datetime | None = None) -> float | None:
    """The pause that a Retry-After header asks for, from 0 on; None where there is none that can be read."""
    if header is None:
        return None
    text = header.strip()
    try:
        seconds = float(text)
    except ValueError:
        return _until(text, now or datetime.now(UTC))
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(text: str, now: datetime) -> float | None:
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:  # -0000, which says that nothing is known of the zone
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())
