"""The galleries that the database has, as plain data."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.galleries.info import ABANDONED, GalleryInfo, GenerationInfo, InStore
from app.galleries.tables import GalleryRow, GenerationRow
from app.registry.service import Models
from models.portable import Space


def registered(session: Session, models: Models, which: ColumnElement[bool]) -> list[GalleryInfo]:
    """The galleries that meet a condition, in order of their ids, with all that belongs to them: two statements,
    however many galleries and generations there are."""
    query = (
        select(GalleryRow, GenerationRow)
        .join(GenerationRow, GenerationRow.gallery == GalleryRow.id)
        .where(which, GenerationRow.state != ABANDONED)
        .order_by(GalleryRow.id, GenerationRow.number)
        # A caller that has locked a gallery sees what is committed by then, not what its session read before.
        .execution_options(populate_existing=True)
    )
    generations: dict[GalleryRow, list[GenerationRow]] = {}
    for row, generation in session.execute(query):
        generations.setdefault(row, []).append(generation)
    spaces = models.spaces({one.model for listed in generations.values() for one in listed}, session)
    return [_info(row, listed, spaces) for row, listed in generations.items()]


def _info(row: GalleryRow, generations: Sequence[GenerationRow], spaces: Mapping[str, Space]) -> GalleryInfo:
    """Rows as plain data. generations: the gallery's own, oldest first. spaces: by model."""
    return GalleryInfo(
        id=row.id,
        folder=row.folder,
        model=row.model,
        side_dimension=row.side_dimension,
        index_options=row.index_options,
        active=row.active,
        created_at=row.created_at,
        generations={
            generation.number: _generation(generation, spaces[generation.model]) for generation in generations
        },
        store=row.store,
    )


def _generation(row: GenerationRow, space: Space) -> GenerationInfo:
    return GenerationInfo(
        number=row.number,
        space=space,
        parent=row.parent,
        upgrade=row.upgrade,
        transformation=row.transformation,
        state=row.state,
        store_version=row.store_version,
        index_name=row.index_name,
        created_at=row.created_at,
        ready_at=row.ready_at,
        retired_at=row.retired_at,
        in_store=None if row.in_store is None else InStore.from_json(row.in_store),
    )
