"""Keys that are taken, as what they may do is asked with every request."""

from dataclasses import dataclass
from datetime import datetime

from app.keys.access import Access


@dataclass(frozen=True)
class ValidKey:
    """A key that is taken until `ends_at`. rate, concurrency: None where the settings say."""

    access: Access
    hash: str
    ends_at: datetime | None
    rate: str | None
    concurrency: int | None


@dataclass(frozen=True)
class ValidKeys:
    """The keys as they were read at one moment. in_use: whether a key is needed at all, since one was ever made."""

    by_id: dict[str, ValidKey]
    in_use: bool
