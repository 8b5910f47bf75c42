"""Generations as rows of the database: made, marked as built, switched to, and forgotten.

Everything happens inside the caller's transaction, so that a generation and the upgrade that made it never disagree.
`Galleries.info` reads what is written here.
"""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.failpoints import Failpoint, reached
from app.galleries.info import ABANDONED, BUILDING, READY
from app.galleries.tables import GalleryRow, GenerationRow
from app.problems import Conflict, NotFound, WrongState
from app.storage.database import utc_now
from models.portable import Space


def lock(session: Session, galleries: Sequence[str]) -> None:
    """Keeps galleries from being switched, upgraded or deleted by others until the caller's transaction ends."""
    wanted = select(GalleryRow.id).where(GalleryRow.id.in_(galleries)).order_by(GalleryRow.id)
    session.execute(wanted.with_for_update()).all()


def point(session: Session, gallery: str, number: int) -> None:
    """Points a gallery at one of its generations: searches are answered from it from now on.

    Raises NotFound, and WrongState where the generation is not ready.
    """
    row = session.get(GalleryRow, gallery, with_for_update=True)
    generation = session.get(GenerationRow, (gallery, number))
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


def galleries_of(session: Session, upgrade: str) -> list[str]:
    """The galleries in which an upgrade made a generation."""
    made = select(GenerationRow.gallery).where(GenerationRow.upgrade == upgrade).order_by(GenerationRow.gallery)
    return list(session.scalars(made))


def abandon(session: Session, upgrade: str) -> None:
    """Forgets the generations of an upgrade that will never be switched to. Their files go with the gallery.

    Their numbers are not given again: a step of the upgrade that was asleep, and does not know yet that it has lost its
    job, may still write the files of its generation, and must not write those of another.
    """
    made = select(GenerationRow, GalleryRow).join(GalleryRow, GalleryRow.id == GenerationRow.gallery)
    for row, gallery in session.execute(made.where(GenerationRow.upgrade == upgrade)):
        row.state = ABANDONED
        row.model = gallery.model  # the upgrade's is not held by it any more
        reached(Failpoint.GENERATIONS_ABANDONED)


def _generation(session: Session, gallery: str, number: int) -> GenerationRow:
    """Raises Conflict where the generation was forgotten meanwhile."""
    row = session.get(GenerationRow, (gallery, number))
    if row is None or row.state == ABANDONED:
        raise Conflict(f"Generation {number} of gallery {gallery!r} was removed.")
    return row
