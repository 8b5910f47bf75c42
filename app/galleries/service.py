"""Galleries as a resource: registered, listed, described, deleted; and how their generations' vectors come about."""

import secrets
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.shared import SharedArtifacts
from app.failpoints import Failpoint, reached
from app.galleries import generations, schemas, shown
from app.galleries.elsewhere import Elsewhere, opened
from app.galleries.generation_in_store import GenerationNowInStore
from app.galleries.generation_now import GenerationNow, TransformedNow
from app.galleries.info import READY, GalleryInfo, GenerationInfo
from app.galleries.lineage import Lineage
from app.galleries.reading import ItemsInStore, ReadableItems
from app.galleries.registered import registered
from app.galleries.store import Counts, GalleryFolder, GalleryStore
from app.galleries.tables import GalleryRow, GenerationRow
from app.index import CorruptIndex, IndexEngine, IndexOptions
from app.problems import IdTaken, InUse, ItemsElsewhere, NotFound, Problem, StoreChanged, Unprocessable
from app.registry.service import Models
from app.settings import Settings
from app.storage.database import Database, once_committed, utc_now
from app.storage.lance_table import embedding_column
from app.storage.shared_files import shared_files
from app.stores.kinds import ConfiguredStores


class Galleries:
    """The galleries resource."""

    def __init__(self, settings: Settings, database: Database, models: Models, stores: ConfiguredStores) -> None:
        """stores: those of the users' own in which galleries may lie."""
        self._settings = settings
        self._stores = stores
        self._shared = shared_files(settings)
        self._artifacts = SharedArtifacts(settings)
        self._database = database
        self._models = models
        self.index_engine = IndexEngine(settings)

    def create(self, new: schemas.NewGallery) -> tuple[schemas.Gallery, bool]:
        """Registers a gallery; the same body again changes nothing. Returns the gallery, and whether it is new.

        Raises NotFound for an unknown model and IdTaken where the id has another body; and, for one whose items lie in
        a store of the user's own, Unprocessable where they are not there as the body says, and GalleryStoreAway.
        """
        model = self._models.get(new.model)
        if (registered := self._find(new.id)) is not None:
            return self._unless_other(registered, new), False
        side = new.side_information.dimension if new.side_information else None
        folder = f"{new.id}-{secrets.token_hex(4)}"
        store = self._laid_out(folder, new, model.dimension, side)
        reached(Failpoint.GALLERY_LAID_OUT)
        try:
            with self._database.session() as session:
                session.add(
                    GalleryRow(
                        id=new.id,
                        folder=folder,
                        model=new.model,
                        side_dimension=side,
                        index_options=new.index.model_dump(),
                        store=None if new.store is None else new.store.model_dump(exclude_none=True),
                    )
                )
                session.flush()
                session.add(GenerationRow(gallery=new.id, number=1, model=new.model, state=READY, ready_at=utc_now()))
        except IntegrityError:
            # Somebody registered the same id, or deleted the model, in the same moment.
            store.destroy()
            self._models.get(new.model)
            return self._unless_other(self.info(new.id), new), False
        except BaseException:
            # Where it cannot be known whether the row is there, the folder stays: a row needs its folder.
            if (registered := self._find(new.id)) is None or registered.folder != folder:
                store.destroy()
            raise
        return self.get(new.id), True

    def get(self, gallery: str) -> schemas.Gallery:
        """With what its store of the user's own says, if its items lie in one. Raises NotFound."""
        info = self.info(gallery)
        return self._shown(info, None if info.elsewhere is None else self._store_now(info, info.elsewhere))

    def rows_after(self, cursor: str | None, limit: int, among: Collection[str] | None = None) -> list[schemas.Gallery]:
        """Up to `limit` galleries in order of their ids, after the one named by the cursor; of these `among` alone,
        where they are given."""
        page = select(GalleryRow.id).order_by(GalleryRow.id).limit(limit)
        if among is not None:
            page = page.where(GalleryRow.id.in_(among))
        if cursor:
            page = page.where(GalleryRow.id > cursor)
        return [self._shown(info) for info in self._infos(GalleryRow.id.in_(page))]

    def delete(
        self,
        gallery: str,
        used_by: Sequence[str] = (),
        leaving: Callable[[Session, str], object] = lambda _session, _gallery: None,
    ) -> None:
        """Removes a gallery with everything in it. leaving: what else ends with it, in the same transaction. Raises
        NotFound, and InUse where an upgrade works on it."""
        info = self.info(gallery)
        if used_by:
            raise InUse(f"Gallery {gallery!r} is being upgraded. Cancel that first.", used_by=list(used_by))
        with self._database.session() as session:
            row = session.get(GalleryRow, gallery)
            if row is not None:
                leaving(session, gallery)
                session.delete(row)
        reached(Failpoint.GALLERY_UNREGISTERED)
        self.destroy(info)
        reached(Failpoint.GALLERY_DESTROYED)

    def destroy(self, info: GalleryInfo) -> None:
        """Removes the files of a gallery that is registered no more, and what its engine of indexes has of it; where
        that does not answer, both stay until leftovers are swept."""
        files = self.folder(info)
        if self.index_engine.release(files.folder):
            files.destroy()

    def generations(self, gallery: str) -> list[schemas.Generation]:
        """Raises NotFound."""
        info = self.info(gallery)
        return [
            shown.generation(info, generation, self._counts(info, generation))
            for generation in info.generations.values()
        ]

    def info(self, gallery: str, within: Session | None = None) -> GalleryInfo:
        """A gallery and its generations as plain data; `within` the caller's session where there is one.

        Raises NotFound.
        """
        info = self._find(gallery, within)
        if info is None:
            raise NotFound(f"There is no gallery {gallery!r}. Register it with POST /galleries.")
        return info

    def is_there(self, info: GalleryInfo) -> bool:
        """Whether a gallery is still registered; another that has its id by now is not it."""
        with self._database.read() as session:
            return session.scalar(select(GalleryRow.folder).where(GalleryRow.id == info.id)) == info.folder

    def every(self) -> list[GalleryInfo]:
        """All galleries, in order of their ids, as the database describes them: no file of theirs is touched."""
        return self._infos(true())

    def folder(self, info: GalleryInfo) -> GalleryFolder:
        """What a gallery has here, wherever its items lie."""
        return GalleryFolder(self._settings.galleries_dir / info.folder, self._shared)

    def targets_folder(self, folder: str) -> Path:
        """Where it is noted what upgrades write into the store of a user's own that a gallery lies in. folder: that
        gallery's, which may be gone."""
        return self._settings.galleries_dir / folder / "targets"

    def store(self, info: GalleryInfo) -> GalleryStore:
        """The Lance store of a gallery's items and generations. Raises ItemsElsewhere where the items lie in a store of
        the user's own: whatever needs this one is not done there."""
        require_here(info)
        return GalleryStore(self._settings.galleries_dir / info.folder, self._shared)

    def items(self, info: GalleryInfo) -> ReadableItems:
        """What can be read of a gallery's items, wherever they lie."""
        if info.elsewhere is None:
            return self.store(info).items
        return ItemsInStore(self._stores, info.elsewhere, info.model)

    def transformed_now(self, info: GalleryInfo, generation: GenerationInfo) -> TransformedNow:
        """A transformed generation as it is now, wherever its vectors lie, with the errors expected of them. Raises
        CorruptArtifact."""
        lineage = self.lineage(info, generation.number, uncertainty=True)
        if info.elsewhere is None or generation.in_store is None:
            return GenerationNow.of(self.store(info), lineage, generation.number, generation.store_version or 0)
        return GenerationNowInStore(
            self._stores, info.elsewhere, lineage, generation.in_store.target, self.targets_folder(info.folder)
        )

    def index_options(self, info: GalleryInfo) -> IndexOptions:
        """How a gallery's generations are indexed."""
        settings = self._settings
        return IndexOptions(
            kind=schemas.IndexChoice(**info.index_options).kind,
            exact_rows=settings.index_exact_rows,
            graph_rows=settings.index_graph_rows,
            recall=settings.index_recall,
        )

    def lineage(self, info: GalleryInfo, number: int, *, uncertainty: bool = False, refreshed: bool = False) -> Lineage:
        """How to get a generation's vectors from the items; with the error expected of them, which takes longer than
        the vectors themselves, only where that is asked for. refreshed: whether the caller has just
        brought the artifacts. Raises CorruptArtifact.
        """
        ancestry = info.ancestry(number)
        if len(ancestry) > 1 and not refreshed:
            self._artifacts.refresh()
        artifacts = [
            UpgradeArtifacts(self._settings.artifacts_dir, str(generation.transformation)) for generation in ancestry
        ]
        crossings = tuple(
            open_crossing(files, before.space, after.space)
            for files, (before, after) in zip(artifacts[1:], pairwise(ancestry), strict=True)
        )
        shortcuts = {
            (start, end): open_crossing(direct, ancestry[start].space, ancestry[end].space)
            for end in range(2, len(ancestry))
            for start in range(end - 1)
            if (direct := artifacts[end].shortcut(ancestry[start].space.model)).folder.exists()
        }
        lineage = Lineage(
            tuple(generation.space.model for generation in ancestry),
            tuple(generation.space.dimension for generation in ancestry),
            crossings,
            shortcuts,
        )
        return lineage if uncertainty else lineage.of_vectors_alone

    def point(self, session: Session, gallery: str, number: int) -> None:
        """As `generations.point`; once that is committed, the engine of indexes is told."""
        generations.point(session, gallery, number)
        once_committed(session, partial(self.show_active, self.info(gallery, session), number))

    def show_active(self, info: GalleryInfo, number: int) -> None:
        """Tells the engine of indexes which generation answers, for those who look there by themselves."""
        name = info.generations[number].index_name
        directory = None if name is None else self.folder(info).index_folder(number) / name
        self.index_engine.show_active(info.id, directory)

    def using_model(self, session: Session, model: str) -> list[str]:
        """What uses a model here, for the registry."""
        searched = set(session.scalars(select(GenerationRow.gallery).where(GenerationRow.model == model)))
        rows = session.scalars(select(GalleryRow).order_by(GalleryRow.id)).all()
        return [f"gallery {row.id}" for row in rows if row.id in searched or self._holds(row, model)]

    def in_space(self, model: str, within: Session | None = None) -> list[str]:
        """The galleries whose active generation is in a model's space; `within` the caller's session where there is
        one."""
        active = (GenerationRow.gallery == GalleryRow.id) & (GenerationRow.number == GalleryRow.active)
        query = select(GalleryRow.id).join(GenerationRow, active).where(GenerationRow.model == model)
        with self._database.read(within) as session:
            return list(session.scalars(query.order_by(GalleryRow.id)))

    def _holds(self, row: GalleryRow, model: str) -> bool:
        """Whether items have vectors of a model, which may be in the space of no generation any more. Those in a store
        of the user's own are told of by their generations alone."""
        return row.store is None and GalleryStore(
            self._settings.galleries_dir / row.folder, self._shared
        ).items.has_value(embedding_column(model))

    def _find(self, gallery: str, within: Session | None = None) -> GalleryInfo | None:
        infos = self._infos(GalleryRow.id == gallery, within)
        return infos[0] if infos else None

    def _infos(self, which: ColumnElement[bool], within: Session | None = None) -> list[GalleryInfo]:
        with self._database.read(within) as session:
            return registered(session, self._models, which)

    def _unless_other(self, known: GalleryInfo, new: schemas.NewGallery) -> schemas.Gallery:
        """The gallery with that id, where registering `new` means that very one. Raises IdTaken where they differ."""
        gallery = self._shown(known)
        wanted = new.model_dump()
        if new.side_information is None:  # It may have come later.
            del wanted["side_information"]
        differing = [name for name, value in wanted.items() if gallery.model_dump()[name] != value]
        if differing:
            raise IdTaken(
                f"Gallery {new.id!r} is registered with another {', '.join(differing)}. Choose another id, or "
                f"DELETE /galleries/{new.id} first.",
                differing=differing,
            )
        return gallery

    def _laid_out(self, folder: str, new: schemas.NewGallery, dimension: int, side: int | None) -> GalleryFolder:
        """A folder for a gallery, empty where its items lie in a store of the user's own, which is looked at."""
        path = self._settings.galleries_dir / folder
        if new.store is None:
            return GalleryStore.create(path, new.model, dimension, side, self._shared)
        self._check_store(new, new.store, dimension)
        path.mkdir(parents=True)
        return GalleryFolder(path, self._shared)

    def _check_store(self, new: schemas.NewGallery, choice: schemas.StoreChoice, dimension: int) -> None:
        elsewhere = Elsewhere.from_json(choice.model_dump())
        if self._settings.storage_url is not None:
            raise Unprocessable.at(
                "What was copied into a store of your own is noted on one machine alone, and this service keeps its "
                "data in an object store, which several share: it takes no galleries in stores of your own. Run "
                "another, with its own data_dir, for these.",
                pointer="/store",
            )
        try:
            with opened(self._stores, elsewhere) as store:
                found = store.describe(roughly=True)
        except StoreChanged as problem:
            raise Unprocessable.at(problem.detail, pointer="/store") from problem
        if found.dimension != dimension:
            raise Unprocessable.at(
                f"The vectors in {elsewhere} have {found.dimension} dimensions, and those of model {new.model!r} have "
                f"{dimension}. Name another column, or the model that really made them.",
                pointer="/store",
            )

    def _store_now(self, info: GalleryInfo, elsewhere: Elsewhere) -> schemas.StoreState:
        """What a store of the user's own says now, or why it says nothing."""
        try:
            with opened(self._stores, elsewhere) as store:
                return shown.store_state(info.current.in_store, store.describe(roughly=True))
        except Problem as problem:
            return shown.store_state(info.current.in_store, problem)

    def _shown(self, info: GalleryInfo, store_state: schemas.StoreState | None = None) -> schemas.Gallery:
        if info.elsewhere is not None:
            return shown.gallery(info, None if store_state is None else store_state.rows, store_state=store_state)
        here = self.store(info)
        return shown.gallery(info, here.items.count(), index=self._published_index(here, info.current))

    def _published_index(self, store: GalleryStore, generation: GenerationInfo) -> schemas.PublishedIndex | None:
        """What a generation's index says of itself; None where it has none, or one that does not say what was
        published."""
        if generation.index_name is None:
            return None
        try:
            manifest = self.index_engine.manifest(store.index_folder(generation.number) / generation.index_name)
        except CorruptIndex:  # searches find it out as well, and ask for another
            return None
        return shown.published_index(manifest, self.index_engine.bytes_on_disk(manifest))

    def _counts(self, info: GalleryInfo, generation: GenerationInfo) -> Counts:
        """Of a generation in a store of the user's own: what was written there, without asking the store; of the first
        one, about how many items the store has."""
        if info.elsewhere is None:
            return self.store(info).counts([earlier.space.model for earlier in info.ancestry(generation.number)])
        if generation.parent is None:
            described = ItemsInStore(self._stores, info.elsewhere, info.model).describe(roughly=True)
            return Counts(described.rows, 0, 0)
        made = generation.in_store
        return Counts(0, 0, 0) if made is None else Counts(made.native, made.items - made.native, 0)


def require_here(info: GalleryInfo) -> None:
    """Raises ItemsElsewhere where a gallery's items lie in a store of the user's own."""
    if info.elsewhere is not None:
        raise ItemsElsewhere(
            f"The items of gallery {info.id!r} lie in {info.elsewhere}: write, list and search them there. Here they "
            "are sampled, learned from, and given the vectors of a new model by an upgrade."
        )
