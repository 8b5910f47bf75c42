"""The texts of items, which embedders read, whatever keeps the items of a gallery."""

from __future__ import annotations

import json
from collections.abc import Sequence

from app.galleries.reading import TEXT
from app.galleries.service import Galleries

_LOOKED_AT = 1_000
"""Items with a payload that are looked at to see whether there are texts at all."""

_IDS_AT_ONCE = 1_000


class ItemTexts:
    """Reads them from the field of payloads that a request names, or from the text of items in a store of the user's
    own, where the gallery says what that is."""

    def __init__(self, galleries: Galleries) -> None:
        self._galleries = galleries

    def of(self, gallery: str, ids: Sequence[str], field: str) -> dict[str, str]:
        """The texts of those of the items that have one. Raises NotFound for the gallery, and GalleryStoreAway or
        StoreChanged where its items lie in a store that cannot be read."""
        items = self._galleries.items(self._galleries.info(gallery))
        column = TEXT if items.has(TEXT) else "payload"
        found: dict[str, str] = {}
        for start in range(0, len(ids), _IDS_AT_ONCE):
            table = items.by_id(ids[start : start + _IDS_AT_ONCE], ["id", column])
            for row in table.select(["id", column]).to_pylist():
                if (text := _text(row[column], None if column == TEXT else field)) is not None:
                    found[row["id"]] = text
        return found

    def any_in(self, gallery: str, field: str) -> bool:
        """Whether one of the first items that may have a text has one. Raises as `of` does."""
        info = self._galleries.info(gallery)
        items = self._galleries.items(info)
        if items.has(TEXT):
            firsts = next(items.scan([TEXT]), None)
            return firsts is not None and any(_text(text, None) for text in firsts.column(TEXT).to_pylist())
        if info.elsewhere is not None:
            payloads = next(items.scan(["payload"]), None)
        else:
            rows = self._galleries.store(info).items
            payloads = next(rows.scan(["payload"], where="payload IS NOT NULL", batch_rows=_LOOKED_AT), None)
        return payloads is not None and any(_text(one, field) for one in payloads.column("payload").to_pylist())

    def place(self, gallery: str, field: str) -> str:
        """Where the texts of a gallery's items are looked for, as a sentence names it. Raises NotFound."""
        elsewhere = self._galleries.info(gallery).elsewhere
        if elsewhere is None or elsewhere.place.text is None:
            return f"in the field {field!r} of their payloads"
        return f"in {elsewhere.place.text!r} of their store, which the gallery names as their `text`"


def _text(stored: str | None, field: str | None) -> str | None:
    """What is stored, or where a field is named the text in that field of the payload stored; None where there is
    none, or nothing but white space."""
    if field is not None:
        return text_in(stored, field)
    return stored if stored is not None and stored.strip() else None


def text_in(payload: str | None, field: str) -> str | None:
    """The text in a field of a payload, as it is stored; None where there is none, or nothing but white space."""
    value = None if payload is None else json.loads(payload).get(field)
    return value if isinstance(value, str) and value.strip() else None
