"""What refuses an upgrade before it starts: everything that can be known at once is said at once."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.datasets.service import Datasets
from app.galleries.service import Galleries
from app.keys.access import Access
from app.problems import Conflict, IdTaken, Unprocessable, WrongState
from app.registry.schemas import Model, NewModel
from app.registry.service import Models
from app.storage.lance_table import embedding_column
from app.upgrades import states
from app.upgrades.compatible_request import CompatibleUpgrade
from app.upgrades.enough import refuse_too_few_pairs, with_items
from app.upgrades.forward_request import ForwardUpgrade
from app.upgrades.judged import of_queries_alone, refuse_gate_without_queries
from app.upgrades.labelled import refuse_gate_without_labels
from app.upgrades.request import UpgradeRequest
from app.upgrades.rows import named
from app.upgrades.states import UpgradeState
from app.upgrades.tables import UpgradeRow


class UpgradeChecks:
    """Whether what was asked can be carried out, going by what is registered and stored."""

    def __init__(self, models: Models, galleries: Galleries, datasets: Datasets) -> None:
        self._models = models
        self._galleries = galleries
        self._datasets = datasets

    def forward(self, session: Session, source: str, request: ForwardUpgrade) -> None:
        """Raises NotFound, and Unprocessable for the same model twice, a dataset without the new one's vectors, or a
        gate that nothing there can judge."""
        old, new = self._models.get(source, session), self._models.get(request.to, session)
        if old.id == new.id:
            raise Unprocessable(f"Model {source!r} cannot be upgraded to itself. Give another model in `to`.")
        for dataset in request.datasets:
            if dataset == request.dataset and request.pairs is not None:
                self._datasets.get(dataset, session)
                continue
            if dataset == request.evaluation and of_queries_alone(self._datasets, dataset, old.id, new.id, session):
                continue
            if not self._datasets.store(dataset, session).rows.has_value(embedding_column(new.id)):
                raise Unprocessable(
                    f"Dataset {dataset!r} has no vectors of model {new.id!r}, so nothing can be learned from it. Embed "
                    f"some items with {new.id!r} (GET /galleries/<id>/sample names the best ones) and "
                    f"PUT /datasets/{dataset}/rows with a column embedding.{new.id}."
                )
        refuse_gate_without_queries(self._datasets, session, old.id, new.id, request)

    def side_information(self, session: Session, request: ForwardUpgrade, galleries: Sequence[str]) -> None:
        """Raises Unprocessable where side-information has different dimensions: a crossing reads vectors of one."""
        known = {f"dataset {name!r}": self._datasets.get(name, session).side_information for name in request.datasets}
        dimension_of = {name: side.dimension for name, side in known.items() if side is not None}
        dimensions = {f"gallery {name!r}": self._galleries.info(name, session).side_dimension for name in galleries}
        dimension_of |= {name: dimension for name, dimension in dimensions.items() if dimension is not None}
        if len(set(dimension_of.values())) > 1:
            told = ", ".join(f"{name} has {dimension}" for name, dimension in dimension_of.items())
            raise Unprocessable(
                f"Side-information must have one dimension throughout an upgrade: {told}. Give the rows and the items "
                "vectors of one encoder, or upgrade the galleries one by one."
            )

    def compatible(self, session: Session, source: str, request: CompatibleUpgrade) -> NewModel:
        """The model to be registered. Raises NotFound, and Unprocessable where it cannot be compatible with the old one
        or a dataset has nothing to train it on."""
        old, to = self._models.get(source, session), request.to
        if to.metric not in (None, old.metric):
            raise Unprocessable.at(
                f"Model {source!r} is compared by {old.metric}, and a model that searches its galleries must be too, "
                f"not by {to.metric}. Leave `metric` out.",
                pointer="/to/metric",
            )
        if (to.dimension or 0) < old.dimension:
            raise Unprocessable.at(
                f"A compatible model needs at least as many dimensions as the old one, whose vectors are zero-padded: "
                f"{source!r} has {old.dimension}, and {to.id!r} would have {to.dimension}. Give a larger `dimension`.",
                pointer="/to/dimension",
            )
        if request.needs_judged_queries:
            raise Unprocessable.at(
                f"{request.gate.metric} is measured by judged queries, of which a model that is yet to be trained has "
                "no vectors. Name a metric by label: cmc@1, cmc@5, map or recall@10.",
                pointer="/gate/metric",
            )
        for field, dataset in (("dataset", request.dataset), ("evaluation", request.evaluation)):
            for column in (str(to.modality), "label") if dataset is not None else ():
                if not self._datasets.store(str(dataset), session).rows.has_value(column):
                    raise Unprocessable.at(
                        f"Dataset {dataset!r} has no row with `{column}`; {to.id!r} is trained and judged on rows with "
                        f"`{to.modality}` and `label`. PUT /datasets/{dataset}/rows with a column `{column}`.",
                        pointer=f"/{field}",
                    )
        return NewModel(
            id=to.id,
            dimension=to.dimension or old.dimension,
            metric=old.metric,
            modality=to.modality,
            description=to.description,
        )

    def galleries(self, session: Session, source: str, request: UpgradeRequest) -> list[str]:
        """The galleries that the upgrade is for. Raises NotFound, and Unprocessable where there is none, or
        one of those named is empty; other empty ones are left out."""
        galleries = request.galleries or self._galleries.in_space(source, session)
        if not galleries:
            raise Unprocessable(f"No gallery is in the space of model {source!r}, so there is nothing to upgrade.")
        return with_items(self._galleries, session, sorted(set(galleries)), named=request.galleries is not None)

    def pairs(self, session: Session, source: str, request: ForwardUpgrade, galleries: Sequence[str]) -> None:
        """Raises Unprocessable for a dataset that is sure to have too few pairs to learn from, or to judge on."""
        refuse_too_few_pairs(self._galleries, self._datasets, session, source, request, galleries)

    def labels(self, session: Session, source: str, request: ForwardUpgrade, galleries: Sequence[str]) -> None:
        """Raises Unprocessable for a gate that is sure not to be told, since nothing says which answers are right."""
        refuse_gate_without_labels(self._galleries, self._datasets, session, source, request, galleries)

    def in_space(self, session: Session, source: str, galleries: Sequence[str]) -> None:
        """Raises NotFound, and Unprocessable for a gallery in the space of another model."""
        for name in galleries:
            info = self._galleries.info(name, session)
            space = info.current.space
            if info.elsewhere is not None and info.current.parent is not None:
                raise Unprocessable(
                    f"Gallery {name!r} was switched to vectors that an upgrade wrote into {info.elsewhere}. To upgrade "
                    f"these, register a gallery of model {space.model!r} whose `vector` they are."
                )
            if space.model != source:
                raise Unprocessable(
                    f"Gallery {name!r} is in the space of model {space.model!r}, not of {source!r}. "
                    f"POST /models/{space.model}/upgrade upgrades it."
                )

    def free(self, session: Session, galleries: Sequence[str], caller: Access) -> None:
        """Raises Conflict where another upgrade is under way, or waits to be switched to."""
        for name, row in _working_on(session, galleries, states.RUNNING | {UpgradeState.READY}):
            raise Conflict(_under_way(name, row, caller), **_member(row, caller))

    def at_rest(self, session: Session, galleries: Sequence[str], caller: Access) -> None:
        """An upgrade builds on the generation that was active when it started: that must not change under it.

        Raises WrongState where one is under way.
        """
        for name, row in _working_on(session, galleries, states.RUNNING):
            raise WrongState(_under_way(name, row, caller), state=row.state, **_member(row, caller))

    def settled(self, session: Session, galleries: Sequence[str], caller: Access) -> None:
        """Raises WrongState where an upgrade is under way or can be switched to: cancelling drops what it made."""
        for name, row in _working_on(session, galleries, states.RUNNING | {UpgradeState.READY}):
            raise WrongState(_under_way(name, row, caller), state=row.state, **_member(row, caller))

    def may_train(self, session: Session, source: str, new: NewModel) -> None:
        """Raises IdTaken unless the id is free, or of a model whose former training came to nothing."""
        registered = self._models.find(session, new.id)
        if registered is None:
            return
        if why := self._taken(session, source, new, registered):
            differing = [name for name in ("dimension", "metric") if getattr(registered, name) != getattr(new, name)]
            raise IdTaken(
                f"Model {new.id!r} is there already: {why}. Choose another id in `to`.", differing=differing or ["id"]
            )

    def _taken(self, session: Session, source: str, new: NewModel, registered: Model) -> str | None:
        """Why a model that is there cannot be trained anew."""
        former = session.get(UpgradeRow, registered.trained_by) if registered.trained_by else None
        if former is None:
            encoder = "it was trained to be an encoder of side-information"
            return encoder if registered.trained_by else "it was registered, not trained here"
        if former.source != source:
            return f"upgrade {former.id} trained it to be compatible with {former.source!r}, not with {source!r}"
        if former.state not in states.ENDED:
            return f"upgrade {former.id}, which trains it, is {former.state}"
        if (registered.dimension, registered.metric) != (new.dimension, new.metric):
            return f"it has {registered.dimension} dimensions and is compared by {registered.metric}"
        users = [*self._galleries.using_model(session, new.id), *self._datasets.using_model(session, new.id)]
        return f"{', '.join(users)} holds vectors of it" if users else None


def _under_way(gallery: str, row: UpgradeRow, caller: Access) -> str:
    """Which upgrade is in the way, and what to do about it."""
    way = (
        f"POST /upgrades/{row.id}/cancel"
        if caller.sees_upgrade_of(row.galleries)
        else "have it cancelled by somebody whose key sees all of its galleries"
    )
    return (
        f"Gallery {gallery!r} is being upgraded by {named(row, caller)}, which is {row.state}. Wait for it, or {way}."
    )


def _member(row: UpgradeRow, caller: Access) -> dict[str, Any]:
    """The member of a problem by which a client finds the upgrade, where its key sees it."""
    return {"upgrade": row.id} if caller.sees_upgrade_of(row.galleries) else {}


def _working_on(
    session: Session, galleries: Sequence[str], of: Collection[UpgradeState]
) -> Iterator[tuple[str, UpgradeRow]]:
    for row in session.scalars(select(UpgradeRow).where(UpgradeRow.state.in_(of)).order_by(UpgradeRow.id)):
        for name in sorted(set(galleries) & set(row.galleries)):
            yield name, row
