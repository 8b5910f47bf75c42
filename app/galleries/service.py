"""What can be done with galleries: register, fill, read, switch."""

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.galleries import schemas
from app.galleries.info import BUILDING, READY, GalleryInfo, GenerationInfo
from app.galleries.lineage import SIDE_INFORMATION, Lineage
from app.galleries.store import GalleryStore
from app.galleries.tables import GalleryRow, GenerationRow
from app.index import IndexOptions
from app.problems import Conflict, IdTaken, InUse, NotFound, Unprocessable, WrongState
from app.registry.service import Models
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import embedding_model
from app.uploads import Expected, UploadedRows
from models.portable import Space


class Galleries:
    """The galleries resource."""

    def __init__(self, settings: Settings, database: Database, models: Models) -> None:
        self._settings = settings
        self._database = database
        self._models = models

    def create(self, new: schemas.NewGallery) -> tuple[schemas.Gallery, bool]:
        """Registers a gallery; the same body again finds the one that is there. Returns it, and whether it is new.

        Raises NotFound for an unknown model and IdTaken where the id has another body.
        """
        model = self._models.get(new.model)
        if (there := self._find(new.id)) is not None:
            return self._unless_other(there, new), False
        side = new.side_information.dimension if new.side_information else None
        folder = f"{new.id}-{secrets.token_hex(4)}"
        store = GalleryStore.create(self._settings.galleries_dir / folder, new.model, model.dimension, side)
        try:
            with self._database.session() as session:
                session.add(
                    GalleryRow(
                        id=new.id,
                        folder=folder,
                        model=new.model,
                        side_dimension=side,
                        index_options=new.index.model_dump(),
                    )
                )
                session.flush()
                session.add(GenerationRow(gallery=new.id, number=1, model=new.model, state=READY, ready_at=_now()))
        except IntegrityError:
            # Somebody registered the same id, or deleted the model, in the same moment.
            store.destroy()
            self._models.get(new.model)
            return self._unless_other(self.info(new.id), new), False
        return self.get(new.id), True

    def get(self, gallery: str) -> schemas.Gallery:
        """Raises NotFound."""
        return self._wire(self.info(gallery))

    def rows_after(self, cursor: str | None, limit: int) -> list[schemas.Gallery]:
        """Up to `limit` galleries in order of their ids, after the one named by the cursor."""
        with self._database.read() as session:
            query = select(GalleryRow.id).order_by(GalleryRow.id).limit(limit)
            ids = session.scalars(query.where(GalleryRow.id > cursor) if cursor else query).all()
        return [self._wire(found) for name in ids if (found := self._find(name)) is not None]

    def delete(self, gallery: str, used_by: Sequence[str] = ()) -> None:
        """Removes a gallery with everything in it. Raises NotFound, and InUse where an upgrade works on it."""
        info = self.info(gallery)
        if used_by:
            raise InUse(f"Gallery {gallery!r} is being upgraded. Cancel that first.", used_by=list(used_by))
        with self._database.session() as session:
            row = session.get(GalleryRow, gallery)
            if row is not None:
                session.delete(row)
        self.store(info).destroy()

    def expected(self, info: GalleryInfo, model: str) -> Expected:
        """What a bulk body of items stamped with `model` must look like. Raises Unprocessable for a wrong stamp."""
        lineage = [step.space for step in info.ancestry(info.active)]
        for space in lineage:
            if space.model == model:
                return Expected.items(space.dimension, info.side_dimension)
        compatible_with = self._models.get(model).compatible_with
        if compatible_with in {space.model for space in lineage}:
            raise Unprocessable(
                f"Gallery {info.id!r} keeps vectors of {compatible_with!r}, which queries of {model!r} search as they "
                f"are. Put items with vectors of {compatible_with!r}; to move the gallery to {model!r}, learn a "
                f'crossing: POST /models/{lineage[-1].model}/upgrade with {{"to": "{model}", "strategy": "forward"}}.',
                errors=[{"parameter": "model", "message": f"{model!r} makes queries for this gallery, not items"}],
            )
        raise Unprocessable(
            f"Gallery {info.id!r} is in the space of model {lineage[-1].model!r}; it takes vectors of "
            f"{', '.join(repr(space.model) for space in lineage)}, not of {model!r}. Send model= with the model that "
            f"really made the vectors, or upgrade first: POST /models/{lineage[-1].model}/upgrade.",
            errors=[{"parameter": "model", "message": f"{model!r} is no model of this gallery"}],
        )

    def put(self, info: GalleryInfo, model: str, rows: UploadedRows) -> schemas.Upserted:
        """Upserts validated items; durable when it returns. Columns left out keep their values in items there are."""
        stale = sorted({later for number in info.generations for later in self._models_after(info, number, model)})
        dimension = self._models.get(model).dimension
        written = self.store(info).put(model, dimension, tuple(stale), rows.schema, rows.batches())
        return schemas.Upserted(inserted=written.inserted, updated=written.updated)

    def item(self, gallery: str, item: str) -> schemas.Item:
        """Raises NotFound for the gallery and for the item."""
        found = self.store(self.info(gallery)).items.by_id([item]).to_pylist()
        if not found:
            raise NotFound(f"Gallery {gallery!r} has no item {item!r}.")
        return _item(found[0])

    def delete_items(self, gallery: str, ids: Sequence[str]) -> int:
        """Removes items in one commit; how many there were. Raises NotFound for the gallery."""
        return self.store(self.info(gallery)).items.delete(ids)

    def generations(self, gallery: str) -> list[schemas.Generation]:
        """Raises NotFound."""
        info = self.info(gallery)
        return [self._wire_generation(info, step) for step in info.generations.values()]

    def point(self, session: Session, gallery: str, number: int) -> None:
        """Points a gallery at a generation, inside the caller's transaction. Raises NotFound and WrongState."""
        row = session.get(GalleryRow, gallery, with_for_update=True)
        generation = session.get(GenerationRow, (gallery, number))
        if row is None or generation is None:
            raise NotFound(f"Gallery {gallery!r} has no generation {number}.")
        if generation.state != READY:
            raise WrongState(f"Generation {number} of gallery {gallery!r} is still {generation.state}.")
        row.active = number

    def lock(self, session: Session, galleries: Sequence[str]) -> None:
        """Keeps galleries from being switched, upgraded or deleted by others until the caller's transaction ends."""
        wanted = select(GalleryRow.id).where(GalleryRow.id.in_(galleries)).order_by(GalleryRow.id)
        session.execute(wanted.with_for_update()).all()

    def build(self, session: Session, gallery: str, space: Space, upgrade: str) -> int:
        """The generation that an upgrade builds on the active one, made if need be; its number."""
        row = session.get(GalleryRow, gallery, with_for_update=True)
        if row is None:
            raise NotFound(f"There is no gallery {gallery!r}; it was deleted while being upgraded.")
        mine = select(GenerationRow).where(GenerationRow.gallery == gallery)
        there = session.scalars(mine.where(GenerationRow.upgrade == upgrade)).one_or_none()
        if there is not None:
            return there.number
        number = max(session.scalars(select(GenerationRow.number).where(GenerationRow.gallery == gallery))) + 1
        session.add(
            GenerationRow(
                gallery=gallery,
                number=number,
                model=space.model,
                parent=row.active,
                upgrade=upgrade,
                transformation=upgrade,
                state=BUILDING,
            )
        )
        return number

    def stored(self, session: Session, gallery: str, number: int, version: int) -> None:
        """Notes that a generation's vectors hold the items as of a version."""
        self._generation(session, gallery, number).store_version = version

    def published(self, session: Session, gallery: str, number: int, version: int, index_name: str) -> None:
        """Points a generation at its published index, of the items as of a version; it can be activated from now on."""
        generation = self._generation(session, gallery, number)
        generation.store_version = version
        generation.index_name = index_name
        generation.state = READY
        generation.ready_at = generation.ready_at or _now()

    def abandon(self, session: Session, upgrade: str) -> None:
        """Forgets the generations of an upgrade that will never be switched to. Their files go with the gallery."""
        for row in session.scalars(select(GenerationRow).where(GenerationRow.upgrade == upgrade)):
            session.delete(row)

    def info(self, gallery: str) -> GalleryInfo:
        """A gallery and its generations as plain data. Raises NotFound."""
        found = self._find(gallery)
        if found is None:
            raise NotFound(f"There is no gallery {gallery!r}. Register it with POST /galleries.")
        return found

    def store(self, info: GalleryInfo) -> GalleryStore:
        return GalleryStore(self._settings.galleries_dir / info.folder)

    def index_options(self, info: GalleryInfo) -> IndexOptions:
        """How a gallery's generations are indexed."""
        return schemas.IndexChoice(**info.index_options).options(self._settings.index_exact_rows)

    def lineage(self, info: GalleryInfo, number: int, *, uncertainty: bool = False) -> Lineage:
        """How to get a generation's vectors from the items; with the error expected of them, which takes longer than
        the vectors themselves, only where that is asked for. Raises CorruptArtifact.
        """
        steps = info.ancestry(number)
        artifacts = [UpgradeArtifacts(self._settings.artifacts_dir, str(step.transformation)) for step in steps]
        crossings = tuple(
            open_crossing(files, before.space, step.space)
            for files, (before, step) in zip(artifacts[1:], pairwise(steps), strict=True)
        )
        shortcuts = {
            (start, end): open_crossing(direct, steps[start].space, steps[end].space)
            for end in range(2, len(steps))
            for start in range(end - 1)
            if (direct := artifacts[end].shortcut(steps[start].space.model)).folder.exists()
        }
        lineage = Lineage(
            tuple(step.space.model for step in steps),
            tuple(step.space.dimension for step in steps),
            crossings,
            shortcuts,
        )
        return lineage if uncertainty else lineage.of_vectors_alone

    def using_model(self, session: Session, model: str) -> list[str]:
        """What uses a model here, for the registry."""
        ids = session.scalars(select(GenerationRow.gallery).where(GenerationRow.model == model).distinct())
        return [f"gallery {gallery}" for gallery in ids]

    def in_space(self, model: str) -> list[str]:
        """The galleries whose active generation is in a model's space."""
        active = (GenerationRow.gallery == GalleryRow.id) & (GenerationRow.number == GalleryRow.active)
        query = select(GalleryRow.id).join(GenerationRow, active).where(GenerationRow.model == model)
        with self._database.read() as session:
            return list(session.scalars(query.order_by(GalleryRow.id)))

    def _find(self, gallery: str) -> GalleryInfo | None:
        with self._database.read() as session:
            row = session.get(GalleryRow, gallery)
            if row is None:
                return None
            mine = select(GenerationRow).where(GenerationRow.gallery == gallery).order_by(GenerationRow.number)
            generations = {step.number: self._generation_info(step) for step in session.scalars(mine)}
            return GalleryInfo(
                id=row.id,
                folder=row.folder,
                model=row.model,
                side_dimension=row.side_dimension,
                index_options=row.index_options,
                active=row.active,
                created_at=row.created_at,
                generations=generations,
            )

    def _generation_info(self, row: GenerationRow) -> GenerationInfo:
        return GenerationInfo(
            number=row.number,
            space=self._models.space(row.model),
            parent=row.parent,
            upgrade=row.upgrade,
            transformation=row.transformation,
            state=row.state,
            store_version=row.store_version,
            index_name=row.index_name,
            created_at=row.created_at,
            ready_at=row.ready_at,
            retired_at=row.retired_at,
        )

    def _generation(self, session: Session, gallery: str, number: int) -> GenerationRow:
        row = session.get(GenerationRow, (gallery, number))
        if row is None:
            raise Conflict(f"Generation {number} of gallery {gallery!r} was removed.")
        return row

    def _models_after(self, info: GalleryInfo, number: int, model: str) -> tuple[str, ...]:
        names = [step.space.model for step in info.ancestry(number)]
        return tuple(names[names.index(model) + 1 :]) if model in names else ()

    def _unless_other(self, there: GalleryInfo, new: schemas.NewGallery) -> schemas.Gallery:
        found = self._wire(there)
        asked = new.model_dump()
        if new.side_information is None:  # It may have come later.
            del asked["side_information"]
        differing = [name for name, value in asked.items() if found.model_dump()[name] != value]
        if differing:
            raise IdTaken(
                f"Gallery {new.id!r} is registered with another {', '.join(differing)}. Choose another id, or "
                f"DELETE /galleries/{new.id} first.",
                differing=differing,
            )
        return found

    def _wire(self, info: GalleryInfo) -> schemas.Gallery:
        side = schemas.SideInformation(dimension=info.side_dimension) if info.side_dimension else None
        return schemas.Gallery(
            id=info.id,
            model=info.model,
            side_information=side,
            index=schemas.IndexChoice(**info.index_options),
            active_generation=info.active,
            active_model=info.current.space.model,
            items=self.store(info).items.count(),
            created_at=info.created_at,
        )

    def _wire_generation(self, info: GalleryInfo, step: GenerationInfo) -> schemas.Generation:
        counts = self.store(info).counts([earlier.space.model for earlier in info.ancestry(step.number)])
        return schemas.Generation(
            number=step.number,
            model=step.space.model,
            state="ready" if step.state == READY else "building",
            active=step.number == info.active,
            parent=step.parent,
            upgrade=step.upgrade,
            native_items=counts.native,
            transformed_items=counts.transformed,
            missing_items=counts.missing,
            created_at=step.created_at,
            ready_at=step.ready_at,
            retired_at=step.retired_at,
        )


def _item(row: dict[str, Any]) -> schemas.Item:
    embeddings = {
        model: vector
        for name, vector in row.items()
        if (model := embedding_model(name)) is not None and vector is not None
    }
    return schemas.Item(
        id=row["id"],
        label=row["label"],
        payload=None if row["payload"] is None else json.loads(row["payload"]),
        side_information=row.get(SIDE_INFORMATION),
        embeddings=embeddings,
    )


def _now() -> datetime:
    return datetime.now(UTC)
