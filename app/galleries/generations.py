"""Generations as rows of the database: made, marked as built, switched to, and forgotten.

Everything happens inside the caller's transaction, so that a generation and the upgrade that made it never disagree.
`Galleries.info` reads what is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.failpoints import Failpoint, reached
from app.galleries.info import ABANDONED, BUILDING, READY, InStore, target_of
from app.galleries.tables import GalleryRow, GenerationRow
from app.problems import Conflict, InUse, NotFound, Unprocessable, WrongState
from app.storage.database import utc_now
from app.stores.protocol import Target
from models.portable import Space


@dataclass(frozen=True)
class TargetOrder:
    """What an upgrade has written into a store of the user's own, to be dropped there. folder: its gallery's; store:
    the place, as that gallery was registered."""

    folder: str
    store: dict[str, Any]
    target: Target

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> TargetOrder:
        return cls(kept["folder"], kept["store"], Target(**kept["target"]))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def lock(session: Session, galleries: Sequence[str]) -> None:
    """Keeps galleries from being switched, upgraded or deleted by others until the caller's transaction ends."""
    wanted = select(GalleryRow.id).where(GalleryRow.id.in_(galleries)).order_by(GalleryRow.id)
    session.execute(wanted.with_for_update()).all()


def point(session: Session, gallery: str, number: int) -> None:
    """Points a gallery at one of its generations: searches are answered from it from now on.

    Raises NotFound, and WrongState where the generation is not ready.
    """
    row = session.get(GalleryRow, gallery, with_for_update=True)
    # Read anew: it may have been forgotten since the session read it first.
    generation = session.get(GenerationRow, (gallery, number), with_for_update=True, populate_existing=True)
    if row is None or generation is None or generation.state == ABANDONED:
        raise NotFound(f"Gallery {gallery!r} has no generation {number}.")
    if generation.state != READY:
        raise WrongState(f"Generation {number} of gallery {gallery!r} is still {generation.state}.")
    row.active = number
    reached(Failpoint.GALLERY_POINTED)


def build(session: Session, gallery: str, space: Space, upgrade: str) -> int:
    """The number of the generation that an upgrade builds on the active one. A second call returns the same one.

    Raises NotFound where the gallery was deleted, and Conflict where the upgrade ended meanwhile.
    """
    row = session.get(GalleryRow, gallery, with_for_update=True)
    if row is None:
        raise NotFound(f"There is no gallery {gallery!r}; it was deleted while being upgraded.")
    made_before = select(GenerationRow.number).where(GenerationRow.gallery == gallery, GenerationRow.upgrade == upgrade)
    if (number := session.scalar(made_before)) is not None:
        return _generation(session, gallery, number).number
    newest = session.scalars(select(func.max(GenerationRow.number)).where(GenerationRow.gallery == gallery)).one()
    generation = GenerationRow(
        gallery=gallery,
        number=newest + 1,
        model=space.model,
        parent=row.active,
        upgrade=upgrade,
        transformation=upgrade,
        state=BUILDING,
    )
    if row.store is not None:
        generation.in_store = InStore(target_of(row.folder, generation.number, space)).to_json()
    session.add(generation)
    return generation.number


def stored(session: Session, gallery: str, number: int, version: int) -> None:
    """Notes that a generation's vectors on disk hold the items as of a version of theirs. Raises Conflict."""
    _generation(session, gallery, number).store_version = version


def published(session: Session, gallery: str, number: int, version: int, index_name: str) -> None:
    """Points a generation at its published index, which holds the items as of a version of theirs. From now on the
    gallery can be pointed at the generation. Raises Conflict."""
    generation = _generation(session, gallery, number)
    generation.store_version = version
    generation.index_name = index_name
    generation.state = READY
    generation.ready_at = generation.ready_at or utc_now()


def note_in_store(session: Session, gallery: str, number: int, change: Callable[[InStore], InStore]) -> None:
    """Notes what was done about a generation's vectors in the user's own store. Raises NotFound."""
    row = session.get(GenerationRow, (gallery, number), with_for_update=True)
    if row is None or row.state == ABANDONED:
        raise NotFound(f"Generation {number} of gallery {gallery!r} was removed.")
    if row.in_store is not None:
        row.in_store = change(InStore.from_json(row.in_store)).to_json()


def note_not_followed(session: Session, folder: str, reason: str, since: datetime) -> None:
    """Notes why what upgrades wrote into the user's own store could not catch up, with those generations that have not
    since then. folder: the gallery's."""
    made = select(GenerationRow).join(GalleryRow, GalleryRow.id == GenerationRow.gallery)
    made = made.where(GalleryRow.folder == folder, GenerationRow.state == READY).order_by(GenerationRow.number)
    locked = made.with_for_update(of=GenerationRow).execution_options(populate_existing=True)
    for row in session.scalars(locked):
        if row.in_store is None:
            continue
        before = InStore.from_json(row.in_store)
        if before.caught_up_at is None or before.caught_up_at < since:
            row.in_store = replace(before, failed=reason).to_json()


def ready_in_store(session: Session, gallery: str, number: int) -> None:
    """Notes that a generation's vectors are in the user's own store, indexed there. From now on the gallery can be
    pointed at it. Raises Conflict."""
    generation = _generation(session, gallery, number)
    generation.state = READY
    generation.ready_at = generation.ready_at or utc_now()


def statements(session: Session, upgrade: str) -> dict[str, str]:
    """By gallery in a store of the user's own: what the user's application has to do there, as it was last switched."""
    made = select(GenerationRow).where(GenerationRow.upgrade == upgrade, GenerationRow.in_store.is_not(None))
    kept = {row.gallery: InStore.from_json(row.in_store or {}).statement for row in session.scalars(made)}
    return {gallery: statement for gallery, statement in sorted(kept.items()) if statement is not None}


def give_up(session: Session, gallery: str, number: int) -> TargetOrder:
    """Forgets a generation whose vectors an upgrade wrote into the user's own store, and returns what is to be dropped
    there. Its number is not given again.

    Raises NotFound, Unprocessable for what no upgrade wrote there, and InUse where the gallery points at it.
    """
    row = session.get(GalleryRow, gallery, with_for_update=True, populate_existing=True)
    generation = session.get(GenerationRow, (gallery, number), with_for_update=True, populate_existing=True)
    if row is None or generation is None or generation.state == ABANDONED:
        raise NotFound(f"Gallery {gallery!r} has no generation {number}.")
    if row.store is None or generation.in_store is None:
        raise Unprocessable(
            f"No upgrade wrote generation {number} of gallery {gallery!r} into a store of your own: what was there "
            "before is yours to remove, and what is kept here goes with DELETE /upgrades/{upgrade}."
        )
    if row.active == number:
        raise InUse(
            f"Gallery {gallery!r} points at generation {number}. Roll back first.", used_by=[f"gallery {row.id}"]
        )
    order = _order(row.folder, row.store, generation.in_store)
    _abandon(generation, row)
    return order


def galleries_of(session: Session, upgrade: str) -> list[str]:
    """The galleries in which an upgrade made a generation."""
    made = select(GenerationRow.gallery).where(GenerationRow.upgrade == upgrade).order_by(GenerationRow.gallery)
    return list(session.scalars(made))


def upgrades_beside(session: Session, upgrade: str) -> list[str]:
    """The upgrades that made the generations of the galleries in which this one made any, itself among them, in order.
    No generation is loaded: what is read of them afterwards is as of then."""
    here = select(GenerationRow.gallery).where(GenerationRow.upgrade == upgrade)
    made = select(GenerationRow.upgrade).where(GenerationRow.gallery.in_(here), GenerationRow.state != ABANDONED)
    return sorted({one for one in session.scalars(made) if one is not None})


def abandon(session: Session, upgrade: str) -> list[TargetOrder]:
    """Forgets the generations of an upgrade that will never be switched to. Their files go with the gallery; what they
    have in stores of the users' own is returned, to be dropped there.

    Their numbers are not given again: a step of the upgrade that was asleep, and does not know yet that it has lost its
    job, may still write the files of its generation, and must not write those of another.
    """
    made = select(GenerationRow, GalleryRow).join(GalleryRow, GalleryRow.id == GenerationRow.gallery)
    left = []
    for row, gallery in session.execute(made.where(GenerationRow.upgrade == upgrade)):
        if gallery.store is not None and row.in_store is not None:
            left.append(_order(gallery.folder, gallery.store, row.in_store))
        _abandon(row, gallery)
        reached(Failpoint.GENERATIONS_ABANDONED)
    return left


def _order(folder: str, store: dict[str, Any], in_store: dict[str, Any]) -> TargetOrder:
    return TargetOrder(folder, store, InStore.from_json(in_store).target)


def _abandon(row: GenerationRow, gallery: GalleryRow) -> None:
    row.state = ABANDONED
    row.in_store = None
    row.model = gallery.model  # the upgrade's is not held by it any more


def _generation(session: Session, gallery: str, number: int) -> GenerationRow:
    """Raises Conflict where the generation was forgotten meanwhile."""
    row = session.get(GenerationRow, (gallery, number))
    if row is None or row.state == ABANDONED:
        raise Conflict(f"Generation {number} of gallery {gallery!r} was removed.")
    return row
