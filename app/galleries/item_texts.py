"""What embedders read of items, their texts or their images, whatever keeps the items of a gallery."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from app.embedders.choice import EmbedderInput
from app.galleries.embedded_texts import text_in
from app.galleries.reading import IMAGE, TEXT, ReadableItems
from app.galleries.service import Galleries

_LOOKED_AT = 1_000
"""Items with a payload that are looked at to see whether there are texts or images at all."""

_LOOKED_AT_OF_IMAGES = 16
"""The same of items in a store that have a column of images, which are read whole."""

_IDS_AT_ONCE = {"text": 1_000, "image": 64}


class ItemTexts:
    """Reads them from the field of payloads that a request names, or from the text or image of items in a store of the
    user's own, where the gallery says what that is. An image is read as base64, which is how a payload holds it."""

    def __init__(self, galleries: Galleries) -> None:
        self._galleries = galleries

    def of(self, gallery: str, ids: Sequence[str], field: str, reads: EmbedderInput = "text") -> dict[str, str]:
        """The texts or images of those of the items that have one. Raises NotFound for the gallery, and
        GalleryStoreAway or StoreChanged where its items lie in a store that cannot be read."""
        items = self._galleries.items(self._galleries.info(gallery))
        column = _column(items, reads)
        found: dict[str, str] = {}
        for start in range(0, len(ids), _IDS_AT_ONCE[reads]):
            table = items.by_id(ids[start : start + _IDS_AT_ONCE[reads]], ["id", column])
            for row in table.select(["id", column]).to_pylist():
                if (there := _read(row[column], column, field, reads)) is not None:
                    found[row["id"]] = there
        return found

    def any_in(self, gallery: str, field: str, reads: EmbedderInput = "text") -> bool:
        """Whether one of the first items that may have a text, or an image, has one. Raises as `of` does."""
        info = self._galleries.info(gallery)
        items = self._galleries.items(info)
        column = _column(items, reads)
        if column == IMAGE:
            firsts = next(items.scan(["id"]), None)
            ids = [] if firsts is None else firsts.column("id").slice(0, _LOOKED_AT_OF_IMAGES).to_pylist()
            return bool(self.of(gallery, ids, field, reads))
        if info.elsewhere is not None:
            firsts = next(items.scan([column]), None)
        else:
            rows = self._galleries.store(info).items
            firsts = next(rows.scan([column], where=f"{column} IS NOT NULL", batch_rows=_LOOKED_AT), None)
        return firsts is not None and any(
            _read(one, column, field, reads) is not None for one in firsts.column(column).to_pylist()
        )

    def place(self, gallery: str, field: str, reads: EmbedderInput = "text") -> str:
        """Where the texts or images of a gallery's items are looked for, as a sentence names it. Raises NotFound."""
        elsewhere = self._galleries.info(gallery).elsewhere
        named = None if elsewhere is None else (elsewhere.place.image if reads == "image" else elsewhere.place.text)
        if named is None:
            return f"in the field {field!r} of their payloads{', as base64' if reads == 'image' else ''}"
        return f"in {named!r} of their store, which the gallery names as their `{reads}`"


def _column(items: ReadableItems, reads: EmbedderInput) -> str:
    """The column to read: the one that the gallery's store names for it, or the payload."""
    named = IMAGE if reads == "image" else TEXT
    return named if items.has(named) else "payload"


def _read(stored: Any, column: str, field: str, reads: EmbedderInput) -> str | None:
    """What one item has to be embedded; None where there is none, nothing but white space, or no base64 of an image."""
    if stored is None:
        return None
    if column == IMAGE:
        return base64.b64encode(stored).decode() if stored else None
    text: str | None = text_in(stored, field) if column == "payload" else stored
    if text is None or not text.strip():
        return None
    return text if reads == "text" or _is_base64(text) else None


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
