"""Writing to the items of a gallery that may be deleted meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from app.galleries.info import GalleryInfo
from app.galleries.service import Galleries
from app.galleries.store import GalleryStore
from app.storage.removal import removed_with


@contextmanager
def writing(galleries: Galleries, info: GalleryInfo) -> Iterator[GalleryStore]:
    """The store of a gallery's items, while they are written. Raises ItemsElsewhere where its items lie in a store of
    the user's own, and NotFound where the gallery is deleted by the end, whatever else went wrong."""
    store = galleries.store(info)
    with removed_with(f"Gallery {info.id!r}", partial(galleries.is_there, info), partial(galleries.destroy, info)):
        yield store
