"""Retiring a transformation: once a generation's own model really made every vector in it, nothing is transformed.

A ready, transformed generation is retired exactly while it holds items and all of them natively. Items stamped with an
older model are refused from then on, since they would need the transformation. Nothing is thrown away: rolling back
leads to a generation that takes old-model items again, and one that is written there makes the transformation needed
again, so that generation is no longer retired.
"""

from itertools import pairwise

import numpy as np
from sqlalchemy.orm import Session

from app.failpoints import Failpoint, reached
from app.galleries.info import READY, GalleryInfo, GenerationInfo
from app.galleries.service import Galleries
from app.galleries.tables import GalleryRow, GenerationRow
from app.problems import WrongState
from app.storage.database import Database, utc_now
from app.storage.lance_table import embedding_column

_LOOKED_AT_FIRST = 64


def refuse_retired(info: GalleryInfo, model: str) -> None:
    """Raises WrongState for items of a model whose way into the active generation is retired."""
    generations = info.ancestry(info.active)
    names = [generation.space.model for generation in generations]
    if model not in names:
        return
    for before, generation in pairwise(generations):
        if generation.retired_at is not None and names.index(model) < names.index(generation.space.model):
            own = generation.space.model
            raise WrongState(
                f"Every item of gallery {info.id!r} was re-embedded with {own!r}, and the transformation from "
                f"{before.space.model!r} was retired at {generation.retired_at.isoformat(timespec='seconds')}: vectors "
                f"of {model!r} are not taken any more. Embed the items with {own!r} and PUT them with model={own}; to "
                f"go back to {before.space.model!r}, POST /galleries/{info.id}/activate with "
                f'{{"generation": {before.number}}}.',
                retired_at=generation.retired_at.isoformat(),
            )


class Retirement:
    """Notes which generations need their transformation no longer, and which need it again."""

    def __init__(self, database: Database, galleries: Galleries) -> None:
        self._database = database
        self._galleries = galleries

    def after_put(self, info: GalleryInfo, model: str) -> None:
        """To be called when items of a model were written: its own generation may be complete now, a later one not.

        info: the gallery as it was when the items were written. Nothing is read where nothing depends on the model.
        """
        for generation in _transformed(info):
            made_by = [earlier.space.model for earlier in info.ancestry(generation.number)]
            # Retired or not is read under the lock: whoever retires it at this moment counted before these were there.
            if model in made_by[:-1] or (model == made_by[-1] and generation.retired_at is None):
                self.settle(info.id, generation.number)

    def after_drop(self, info: GalleryInfo) -> None:
        """To be called when vectors were dropped, while others of their items stay: what is all native may not be any
        more. info: the gallery as it was after that."""
        for generation in _transformed(info):
            # Whether or not it is retired yet: whoever retires it at this moment counted before they were dropped.
            self.settle(info.id, generation.number)

    def after_delete(self, gallery: str) -> None:
        """To be called when items were deleted: those left may all be native, or none may be left."""
        info = self._galleries.info(gallery)
        for generation in _transformed(info):
            # Deleting makes no native item a transformed one: what is retired stays so while any item is left.
            if generation.retired_at is None or not self._galleries.store(info).items.count():
                self.settle(gallery, generation.number)

    def settle(self, gallery: str, number: int) -> bool:
        """Brings the note on a transformed generation into line with its items; whether it is retired now."""
        info = self._galleries.info(gallery)
        generation = info.generations.get(number)
        if generation is None or generation.state != READY:
            return False
        hopeless = self._seen_transformed(info, generation)
        with self._database.session() as session:
            row = self._locked(session, gallery, number)
            if row is None or (row.retired_at is None and hopeless):
                return False
            retired = not hopeless and self._all_native(info, generation)
            row.retired_at = (row.retired_at or utc_now()) if retired else None
            reached(Failpoint.RETIREMENT_NOTED)
            return retired

    def _locked(self, session: Session, gallery: str, number: int) -> GenerationRow | None:
        """A generation while nobody else switches, retires or deletes its gallery."""
        session.get(GalleryRow, gallery, with_for_update=True)
        return session.get(GenerationRow, (gallery, number), with_for_update=True)

    def _seen_transformed(self, info: GalleryInfo, generation: GenerationInfo) -> bool:
        """Whether one of a few items is transformed still: what spares counting all after nearly every write."""
        store = self._galleries.store(info)
        known = store.generation(generation.number, generation.space.dimension).standings()
        rows = known.rows[~known.native]
        some = np.random.default_rng(len(rows)).permutation(len(rows))[:_LOOKED_AT_FIRST]
        own = embedding_column(generation.space.model)
        if not store.items.has(own):
            return True
        return bool(store.items.by_row(rows[some], [own]).column(own).null_count)

    def _all_native(self, info: GalleryInfo, generation: GenerationInfo) -> bool:
        models = [earlier.space.model for earlier in info.ancestry(generation.number)]
        counts = self._galleries.store(info).counts(models)
        return counts.native > 0 and not counts.transformed


def _transformed(info: GalleryInfo) -> list[GenerationInfo]:
    """Those that are still built, too: they may be ready by the time that they are settled."""
    return [one for one in info.generations.values() if one.parent is not None]
