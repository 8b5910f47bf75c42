"""Keeps vectors that were made to answer a search: they become the items' own, in one thread, after the answer."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import structlog

from app.galleries.items import GalleryItems
from app.galleries.retirement import Retirement
from app.galleries.service import Galleries
from app.index import Vectors
from app.problems import NotFound

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class KeptFor:
    """Whose vectors they are. folder: of the gallery, which tells it from a later one of the same id."""

    gallery: str
    folder: str
    model: str


@dataclass(frozen=True)
class MadeVector:
    """What a model made of an item's text: (d,) float32, as the embedder answered it."""

    text: str
    vector: Vectors


class VectorKeeper:
    """Vectors on their way to the items. Those that cannot be stored are let go of, and made anew when needed."""

    def __init__(self, galleries: Galleries, items: GalleryItems, retirement: Retirement, field: str) -> None:
        """field: of payloads, whose texts the vectors are made of."""
        self._galleries = galleries
        self._items = items
        self._retirement = retirement
        self._field = field
        self._lock = threading.Lock()
        self._waiting: dict[KeptFor, dict[str, MadeVector]] = defaultdict(dict)
        self._thread = ThreadPoolExecutor(1, "keep new vectors")

    def add(self, of: KeptFor, made: Mapping[str, MadeVector]) -> None:
        """Takes the vectors of items, by id, and returns before they are stored."""
        with self._lock:
            self._waiting[of].update(made)
        self._thread.submit(self._store_all)

    def waiting(self, of: KeptFor, texts: Mapping[str, str]) -> dict[str, Vectors]:
        """The vectors of those of the items, by id, that wait to be stored and were made of the same text."""
        with self._lock:
            there = self._waiting.get(of, {})
            return {
                item: there[item].vector for item, text in texts.items() if item in there and there[item].text == text
            }

    def close(self) -> None:
        """Stores what waits."""
        self._thread.shutdown()

    def _store_all(self) -> None:
        """All that waits, in one commit for each gallery and model: those who came meanwhile find nothing to do."""
        with self._lock:
            taken = {of: dict(waiting) for of, waiting in self._waiting.items()}
        for of, waiting in taken.items():
            try:
                self._store(of, waiting)
            except Exception as error:  # such as a full disk: nobody waits for this, and the thread goes on
                log.warning("new vectors not kept", gallery=of.gallery, model=of.model, error=repr(error))
            with self._lock:
                left = {item: one for item, one in self._waiting[of].items() if waiting.get(item) is not one}
                self._waiting[of] = left
                if not left:
                    del self._waiting[of]

    def _store(self, of: KeptFor, waiting: Mapping[str, MadeVector]) -> None:
        info = self._galleries.info(of.gallery)
        if info.folder != of.folder:
            raise NotFound(f"Gallery {of.gallery!r} was deleted, and registered anew.")
        texts = {item: one.text for item, one in waiting.items()}
        vectors = np.stack([one.vector for one in waiting.values()])
        self._items.re_embed(of.gallery, of.model, texts, vectors, self._field)
        self._retirement.after_put(info, of.model)
