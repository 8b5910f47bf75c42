"""A gallery that is deleted while its items are written: what was written goes with it, and the writer is told."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.galleries.info import GalleryInfo
from app.galleries.service import Galleries
from app.galleries.store import GalleryStore
from app.problems import NotFound


@contextmanager
def writing(galleries: Galleries, info: GalleryInfo) -> Iterator[GalleryStore]:
    """The store of a gallery's items, while they are written.

    A commit makes the folders that it needs. So one that ends after the gallery's files were removed makes some of them
    anew, which nothing names: they are removed here. Raises ItemsElsewhere where its items lie in a store of the
    user's own, and NotFound where the gallery is deleted by the end, whatever else went wrong.
    """
    store = galleries.store(info)
    try:
        yield store
    finally:
        if not galleries.is_there(info):
            store.destroy()
            raise NotFound(f"Gallery {info.id!r} was deleted while this request was writing to it.")
