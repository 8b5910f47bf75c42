"""What can be done with datasets: register, fill, describe, remove."""

import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.datasets import schemas
from app.datasets.info import DatasetInfo
from app.datasets.store import RELEVANT, DatasetStore, models_of
from app.datasets.tables import DatasetRow
from app.failpoints import Failpoint, reached
from app.galleries.lineage import SIDE_INFORMATION
from app.galleries.schemas import SideInformation, Upserted
from app.problems import IdTaken, InUse, NotFound, Unprocessable
from app.registry.service import Models
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import Table, embedding_column
from app.storage.removal import removed_with
from app.storage.shared_files import shared_files
from app.uploads import Expected, UploadedRows
from app.wording import count_of

log = structlog.get_logger(__name__)


class Datasets:
    """The datasets resource."""

    def __init__(self, settings: Settings, database: Database, models: Models) -> None:
        self._settings = settings
        self._shared = shared_files(settings)
        self._database = database
        self._models = models

    def create(self, new: schemas.NewDataset) -> tuple[schemas.Dataset, bool]:
        """Registers a dataset; the same body again finds the one that is there. Returns it, and whether it is new.

        Raises IdTaken where the id has another body.
        """
        if (row := self._find(new.id)) is not None:
            return self._unless_other(row, new), False
        side = new.side_information.dimension if new.side_information else None
        folder = f"{new.id}-{secrets.token_hex(4)}"
        store = DatasetStore.create(self._settings.datasets_dir / folder, side, self._shared)
        reached(Failpoint.DATASET_LAID_OUT)
        row = DatasetRow(id=new.id, folder=folder, side_dimension=side, description=new.description)
        try:
            with self._database.session() as session:
                session.add(row)
        except IntegrityError:  # registered by somebody else in the same moment
            store.destroy()
            return self._unless_other(self._row(new.id), new), False
        except BaseException:
            # Where it cannot be known whether the row is there, the folder stays: a row needs its folder.
            if (registered := self._find(new.id)) is None or registered.folder != folder:
                store.destroy()
            raise
        return self.get(new.id), True

    def add(self, session: Session, new: schemas.NewDataset) -> None:
        """Registers an empty dataset of the service's own in the caller's transaction, under an id that nobody has. The
        folder of one that is rolled back is removed with other leftovers."""
        folder = f"{new.id}-{secrets.token_hex(4)}"
        DatasetStore.create(self._settings.datasets_dir / folder, None, self._shared)
        reached(Failpoint.DATASET_LAID_OUT)
        session.add(DatasetRow(id=new.id, folder=folder, description=new.description))

    def get(self, dataset: str, within: Session | None = None) -> schemas.Dataset:
        """A dataset; `within` the caller's session where there is one. Raises NotFound."""
        return self._wire(self._row(dataset, within))

    def rows_after(self, cursor: str | None, limit: int, among: Collection[str] | None = None) -> list[schemas.Dataset]:
        """Up to `limit` datasets in order of their ids, after the one named by the cursor; of these `among` alone,
        where they are given."""
        with self._database.read() as session:
            query = select(DatasetRow).order_by(DatasetRow.id).limit(limit)
            query = query if among is None else query.where(DatasetRow.id.in_(among))
            rows = session.scalars(query.where(DatasetRow.id > cursor) if cursor else query).all()
        return [self._wire(row) for row in rows]

    def delete(self, dataset: str, used_by: Sequence[str] = ()) -> None:
        """Removes a dataset. Raises NotFound, and InUse where a running upgrade learns from it."""
        row = self._row(dataset)
        if used_by:
            raise InUse(f"Dataset {dataset!r} is in use by {', '.join(used_by)}.", used_by=list(used_by))
        with self._database.session() as session:
            if (stored := session.get(DatasetRow, dataset)) is not None:
                session.delete(stored)
        reached(Failpoint.DATASET_UNREGISTERED)
        self._store(row).destroy()
        reached(Failpoint.DATASET_DESTROYED)

    def expected(self, dataset: str) -> Expected:
        """What a bulk body of rows must look like: a vector column for any registered model. Raises NotFound."""
        row = self._row(dataset)
        return Expected.rows(self._models.dimensions(), row.side_dimension)

    def put(self, dataset: str, rows: UploadedRows) -> Upserted:
        """Upserts validated rows; durable when it returns. Columns left out keep their values in rows there are.

        Side-information, in a dataset that was registered without, gives it the dimension that it has. Raises
        Unprocessable where another request gave it another meanwhile.
        """
        side = SIDE_INFORMATION in rows.schema.names
        dimension = rows.schema.field(SIDE_INFORMATION).type.list_size if side else None
        gave = dimension is not None and self._agree_on_side_information(dataset, dimension)
        try:
            with self._writing(dataset) as store:
                written = store.put(rows.schema, rows.batches)
        except BaseException:
            if gave:
                self._take_back_side_information(dataset)
            raise
        if dimension is not None:
            # The request that gave it may have failed, and taken it back before these rows were there, or be about to.
            self._agree_on_side_information(dataset, dimension)
        return Upserted(inserted=written.inserted, updated=written.updated)

    def expected_queries(self, dataset: str) -> Expected:
        """What a bulk body of queries must look like: a vector column for any registered model. Raises NotFound."""
        self._row(dataset)
        return Expected.judged_queries(self._models.dimensions())

    def put_queries(self, dataset: str, queries: UploadedRows) -> Upserted:
        """Upserts validated queries; durable when it returns. Columns left out keep their values. Raises NotFound."""
        with self._writing(dataset) as store:
            written = store.put_queries(queries.schema, queries.batches)
        return Upserted(inserted=written.inserted, updated=written.updated)

    def put_judgements(self, dataset: str, judgements: pa.Table) -> Upserted:
        """Says of queries what is relevant to them, in place of what was said before; those that are not there yet are
        put without vectors. judgements: columns `id` and `relevant`. Durable when it returns. Raises NotFound."""
        with self._writing(dataset) as store:
            written = store.put_queries(judgements.schema, lambda: iter(judgements.to_batches()))
        return Upserted(inserted=written.inserted, updated=written.updated)

    def delete_queries(self, dataset: str) -> None:
        """Removes every query of a dataset, and none of its rows. Raises NotFound."""
        with self._writing(dataset) as store:
            store.delete_queries()

    @contextmanager
    def _writing(self, dataset: str) -> Iterator[DatasetStore]:
        """The files of a dataset, while they are written. Raises NotFound where it is deleted by the end."""
        row = self._row(dataset)
        store = self._store(row)

        def is_there() -> bool:
            now = self._find(dataset)
            return now is not None and now.folder == row.folder

        with removed_with(f"Dataset {dataset!r}", is_there, store.destroy):
            yield store

    def _agree_on_side_information(self, dataset: str, dimension: int) -> bool:
        """Notes the dimension of a dataset's side-information; whether it had none before. Raises Unprocessable where
        it has another."""
        with self._database.session() as session:
            row = session.get(DatasetRow, dataset, with_for_update=True)
            if row is None:
                raise NotFound(f"There is no dataset {dataset!r}; it was deleted meanwhile.")
            if row.side_dimension is None:
                row.side_dimension = dimension
                return True
            if row.side_dimension != dimension:
                raise Unprocessable(
                    f"The side-information of dataset {dataset!r} has {count_of(row.side_dimension, 'dimension')}, not "
                    f"{dimension}: another request gave it the first meanwhile."
                )
        return False

    def _take_back_side_information(self, dataset: str) -> None:
        """Leaves a dataset without a dimension again, unless some row has side-information by now. What goes wrong is
        logged, since the caller has something worse to tell."""
        try:
            with self._database.session() as session:
                row = session.get(DatasetRow, dataset, with_for_update=True)
                if row is not None and not self._store(row).rows.has_value(SIDE_INFORMATION):
                    row.side_dimension = None
        except Exception:
            log.exception("a dataset keeps the dimension of side-information that was not stored", dataset=dataset)

    def store(self, dataset: str, within: Session | None = None) -> DatasetStore:
        """The files of a dataset; `within` the caller's session where there is one. Raises NotFound."""
        return self._store(self._row(dataset, within))

    def every(self) -> list[DatasetInfo]:
        """All datasets, in order of their ids, as the database describes them: no file of theirs is touched."""
        with self._database.read() as session:
            rows = session.scalars(select(DatasetRow).order_by(DatasetRow.id)).all()
        return [DatasetInfo(row.id, row.folder) for row in rows]

    def info(self, dataset: str) -> DatasetInfo:
        """A dataset as the database describes it: no file of it is touched. Raises NotFound."""
        row = self._row(dataset)
        return DatasetInfo(row.id, row.folder)

    def using_model(self, session: Session, model: str) -> list[str]:
        """The datasets that hold vectors of a model, for whoever would delete it, read in that caller's session."""
        rows = session.scalars(select(DatasetRow)).all()
        return [f"dataset {row.id}" for row in rows if self._holds(row, model)]

    def _holds(self, row: DatasetRow, model: str) -> bool:
        store, column = self._store(row), embedding_column(model)
        tables = [store.rows] if store.queries is None else [store.rows, store.queries]
        return any(table.has_value(column) for table in tables)

    def _find(self, dataset: str, within: Session | None = None) -> DatasetRow | None:
        with self._database.read(within) as session:
            return session.get(DatasetRow, dataset)

    def _row(self, dataset: str, within: Session | None = None) -> DatasetRow:
        row = self._find(dataset, within)
        if row is None:
            raise NotFound(f"There is no dataset {dataset!r}. Register it with POST /datasets.")
        return row

    def _store(self, row: DatasetRow) -> DatasetStore:
        return DatasetStore(self._settings.datasets_dir / row.folder, self._shared)

    def _unless_other(self, row: DatasetRow, new: schemas.NewDataset) -> schemas.Dataset:
        registered = self._wire(row)
        given = new.model_dump()
        if new.side_information is None:  # its rows may have shown one since
            del given["side_information"]
        differing = [name for name, value in given.items() if registered.model_dump()[name] != value]
        if differing:
            raise IdTaken(
                f"Dataset {new.id!r} is registered with another {', '.join(differing)}. Choose another id, or "
                f"DELETE /datasets/{new.id} first.",
                differing=differing,
            )
        return registered

    def _wire(self, row: DatasetRow) -> schemas.Dataset:
        store = self._store(row)
        return schemas.Dataset(
            id=row.id,
            side_information=SideInformation(dimension=row.side_dimension) if row.side_dimension else None,
            description=row.description,
            rows=store.rows.count(),
            labelled=store.rows.count("label IS NOT NULL"),
            embeddings=_with_vectors(store.rows),
            queries=_counted(store.queries),
            created_at=row.created_at,
        )


def _counted(queries: Table | None) -> schemas.QueryCounts:
    if queries is None:
        return schemas.QueryCounts(count=0, judged=0, embeddings={})
    judged = queries.count(f"{RELEVANT} IS NOT NULL")
    return schemas.QueryCounts(count=queries.count(), judged=judged, embeddings=_with_vectors(queries))


def _with_vectors(table: Table) -> dict[str, int]:
    """How many rows have a vector, by the model that made it."""
    return {model: table.count(f"`{embedding_column(model)}` IS NOT NULL") for model in models_of(table)}
