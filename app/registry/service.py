"""What can be done with models: register, look up, remove."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.embedders.choice import EmbedderChoice, ModelsEmbedder, TrainedHere
from app.problems import IdTaken, InUse, NotFound, Unprocessable
from app.registry.schemas import Model, NewModel, QuerySide
from app.registry.tables import ModelRow
from app.storage.database import Database
from models.portable import Distance, Space

Usages = Callable[[Session, str], Sequence[str]]
"""What uses a model, in words ("gallery faq"), as another resource sees it."""

Leaves = Callable[[Session, str], None]
"""What goes with a model, in the transaction that removes it."""


class EmbedderCheck(Protocol):
    """What knows which embedders there are; `ConfiguredEmbedders` does."""

    def require(self, choice: EmbedderChoice, dimension: int, pointer: str) -> None:
        """Raises Unprocessable where a model of so many dimensions cannot be embedded as it says. pointer: to where it
        says so, in the body."""


class Models:
    """The registry of model versions. `usages` and `leaves` are read when a model is deleted, so that they may be
    filled later. embedders: what knows those that models may name."""

    def __init__(
        self,
        database: Database,
        usages: Sequence[Usages] = (),
        leaves: Sequence[Leaves] = (),
        embedders: EmbedderCheck | None = None,
    ) -> None:
        self._database = database
        self._embedders = embedders
        self._usages = usages
        self._leaves = leaves

    def create(self, new: NewModel) -> tuple[Model, bool]:
        """Registers a model; the same body again changes nothing. Returns the model, and whether it is new.

        Raises IdTaken where the id has another body, and Unprocessable where its embedder cannot be asked.
        """
        if new.embedder is not None and self._embedders is not None:
            self._embedders.require(new.embedder, new.dimension, "/embedder")
        try:
            with self._database.session() as session:
                if (registered := session.get(ModelRow, new.id)) is not None:
                    return _unless_other(_wire(registered), new), False
                row = ModelRow(**new.model_dump())
                session.add(row)
                session.flush()
                return _wire(row), True
        except IntegrityError:  # registered by somebody else in the same moment
            return _unless_other(self.get(new.id), new), False

    def set_embedder(self, model: str, choice: EmbedderChoice) -> Model:
        """Says what makes a model's vectors from now on, in place of what did before: the same model.

        Raises NotFound, and Unprocessable where the embedder cannot be asked.
        """
        with self._database.session() as session:
            row = _registered(session.get(ModelRow, model, with_for_update=True), model)
            if self._embedders is not None:
                self._embedders.require(choice, row.dimension, "")
            if choice.tells_queries_apart and row.queries == "same":
                raise Unprocessable.at(
                    f"Model {model!r} is registered to embed queries as it embeds documents, and this embedder has "
                    "another prefix or `input_type` for queries.",
                    pointer="/query_prefix" if choice.query_prefix != choice.document_prefix else "/query_input_type",
                )
            row.embedder = choice.model_dump()
            return _wire(row)

    def get(self, model: str, within: Session | None = None) -> Model:
        """A model; `within` the caller's session where there is one. Raises NotFound."""
        with self._database.read(within) as session:
            return _wire(_registered(session.get(ModelRow, model), model))

    def find(self, session: Session, model: str) -> Model | None:
        """A model as the caller's transaction sees it, kept from changing until that ends."""
        row = session.get(ModelRow, model, with_for_update=True)
        return None if row is None else _wire(row)

    def hold(self, session: Session, model: str) -> None:
        """Keeps a model from being deleted until the caller's transaction ends. Raises NotFound."""
        _registered(session.get(ModelRow, model, with_for_update={"read": True}), model)

    def train(self, session: Session, new: NewModel, trained_by: str) -> None:
        """Registers a model that is to be trained, in the transaction of what trains it; one whose training came to
        nothing is taken over. Raises IdTaken where somebody else registers the id in the same moment."""
        row = session.get(ModelRow, new.id, with_for_update=True)
        if row is not None:
            row.modality, row.description = new.modality, new.description
            row.trained_by, row.compatible_with = trained_by, None
            return
        try:
            with session.begin_nested():
                session.add(ModelRow(**new.model_dump(), trained_by=trained_by))
        except IntegrityError:
            raise IdTaken(
                f"Model {new.id!r} was registered this moment. Choose another id.", differing=["id"]
            ) from None

    def untrained(self, session: Session, model: str, trained_by: str) -> None:
        """Notes that a model's weights are no more, where it is there and `trained_by` is what trained it."""
        row = session.get(ModelRow, model, with_for_update=True)
        if row is not None and row.trained_by == trained_by:
            row.trained_by = row.compatible_with = None

    def prove_compatible(self, session: Session, model: str, old: str) -> None:
        """Notes that a model's queries may search the galleries of an old model. Raises NotFound."""
        _registered(session.get(ModelRow, model, with_for_update=True), model).compatible_with = old

    def rows_after(self, cursor: str | None, limit: int) -> list[Model]:
        """Up to `limit` models in order of their ids, after the one named by the cursor."""
        query = select(ModelRow).order_by(ModelRow.id).limit(limit)
        with self._database.read() as session:
            rows = session.scalars(query.where(ModelRow.id > cursor) if cursor is not None else query)
            return [_wire(row) for row in rows]

    def delete(self, model: str) -> None:
        """Removes a model. Raises NotFound, and InUse where something still needs it."""
        try:
            with self._database.session() as session:
                row = _registered(session.get(ModelRow, model, with_for_update=True), model)
                if used_by := [use for usages in self._usages for use in usages(session, model)]:
                    raise _in_use(model, used_by)
                for leave in self._leaves:
                    leave(session, model)
                session.delete(row)
        except IntegrityError:  # put to use by somebody else in the same moment
            with self._database.read() as session:
                used_by = [use for usages in self._usages for use in usages(session, model)]
            raise _in_use(model, used_by) from None

    def space(self, model: str) -> Space:
        """Where a model's vectors live. Raises NotFound."""
        return self.spaces([model])[model]

    def spaces(self, models: Collection[str], within: Session | None = None) -> dict[str, Space]:
        """Where the vectors of each of these models live, read in one statement; `within` the caller's session where
        there is one. Raises NotFound."""
        query = select(ModelRow.id, ModelRow.dimension, ModelRow.metric).where(ModelRow.id.in_(set(models)))
        with self._database.read(within) as session:
            spaces = {row.id: Space(row.id, row.dimension, row.metric) for row in session.execute(query)}
        for model in models:
            if model not in spaces:
                raise _not_registered(model)
        return spaces

    def of_dimension(self, dimension: int) -> list[Model]:
        """All models whose vectors have so many components."""
        with self._database.read() as session:
            return [_wire(row) for row in session.scalars(select(ModelRow).where(ModelRow.dimension == dimension))]

    def dimensions(self) -> dict[str, int]:
        """Components of a vector, by model."""
        with self._database.read() as session:
            return {row.id: row.dimension for row in session.scalars(select(ModelRow))}


def _registered(row: ModelRow | None, model: str) -> ModelRow:
    if row is None:
        raise _not_registered(model)
    return row


def _not_registered(model: str) -> NotFound:
    return NotFound(f"There is no model {model!r}. Register it with POST /models.")


def _in_use(model: str, used_by: Sequence[str]) -> InUse:
    users = ", ".join(used_by) or "something registered this moment"
    return InUse(f"Model {model!r} is in use by {users}.", used_by=list(used_by))


def _unless_other(registered: Model, new: NewModel) -> Model:
    """The registered model, where registering `new` means that very one. Raises IdTaken where their bodies differ."""
    known = registered.model_dump()
    if isinstance(registered.embedder, TrainedHere):
        known["embedder"] = None  # it has that without having named it
    differing = [name for name, value in new.model_dump().items() if known[name] != value]
    if differing:
        raise IdTaken(
            f"Model {new.id!r} is registered with another {', '.join(differing)}. A model version never changes: "
            f"choose another id, or DELETE /models/{new.id} first.",
            differing=differing,
        )
    return registered


def _wire(row: ModelRow) -> Model:
    metric: Distance = row.metric  # type: ignore[assignment]  # written from a Distance
    queries: QuerySide = row.queries  # type: ignore[assignment]  # written from a QuerySide
    return Model(
        id=row.id,
        dimension=row.dimension,
        metric=metric,
        queries=queries,
        embedder=_embedder(row),
        modality=row.modality,
        description=row.description,
        trained_by=row.trained_by,
        compatible_with=row.compatible_with,
        created_at=row.created_at,
    )


def _embedder(row: ModelRow) -> ModelsEmbedder | None:
    """What a model names, or the model itself where it was trained here."""
    if row.embedder is not None:
        return EmbedderChoice.model_validate(row.embedder)
    if row.trained_by is None or row.modality not in ("text", "image"):
        return None
    return TrainedHere(run=row.trained_by, reads="image" if row.modality == "image" else "text")
