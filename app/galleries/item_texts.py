"""The texts of items, which embedders read: one seam, whatever keeps the items of a gallery."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.galleries.service import Galleries

_LOOKED_AT = 1_000
"""Items with a payload that are looked at to see whether there are texts at all."""

_IDS_AT_ONCE = 1_000


class ItemTexts:
    """Reads them from the field of payloads that a request names."""

    def __init__(self, galleries: Galleries) -> None:
        self._galleries = galleries

    def of(self, gallery: str, ids: Sequence[str], field: str) -> dict[str, str]:
        """The texts of those of the items that have one. Raises NotFound for the gallery."""
        items = self._galleries.store(self._galleries.info(gallery)).items
        found: dict[str, str] = {}
        for start in range(0, len(ids), _IDS_AT_ONCE):
            table = items.by_id(ids[start : start + _IDS_AT_ONCE], ["id", "payload"])
            for row in table.select(["id", "payload"]).to_pylist():
                if (text := text_in(row["payload"], field)) is not None:
                    found[row["id"]] = text
        return found

    def any_in(self, gallery: str, field: str, within: Session | None = None) -> bool:
        """Whether one of the first items with a payload has a text. Raises NotFound."""
        items = self._galleries.store(self._galleries.info(gallery, within)).items
        for batch in items.scan(["payload"], where="payload IS NOT NULL", batch_rows=_LOOKED_AT):
            return any(text_in(payload, field) is not None for payload in batch.column("payload").to_pylist())
        return False


def text_in(payload: str | None, field: str) -> str | None:
    """The text in a field of a payload, as it is stored; None where there is none, or nothing but white space."""
    value = None if payload is None else json.loads(payload).get(field)
    return value if isinstance(value, str) and value.strip() else None
