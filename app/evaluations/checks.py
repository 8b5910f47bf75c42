"""Checks a request to evaluate before it starts, and fills in what it left out."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.datasets.service import Datasets
from app.datasets.store import RELEVANT
from app.evaluations.holdings import Holding, of_dataset, of_gallery, of_queries
from app.evaluations.schemas import (
    LABEL,
    AnyEvaluation,
    ChainEvaluation,
    JudgedEvaluation,
    Pair,
    PairEvaluation,
    SearchEvaluation,
)
from app.galleries.service import Galleries
from app.keys.access import Access
from app.problems import Unprocessable
from app.registry.service import Models
from app.upgrades.accepted_crossings import AcceptedCrossings


class EvaluationChecks:
    """Whether what was asked can be carried out, going by what is registered, stored and learned."""

    def __init__(
        self, models: Models, galleries: Galleries, datasets: Datasets, accepted_crossings: AcceptedCrossings
    ) -> None:
        self._models = models
        self._galleries = galleries
        self._datasets = datasets
        self._accepted_crossings = accepted_crossings

    def whole(self, session: Session, request: AnyEvaluation, caller: Access) -> AnyEvaluation:
        """The request with what it left out filled in. Raises NotFound, NoRoute and Unprocessable."""
        if isinstance(request, ChainEvaluation):
            return self.chain(session, request)
        if isinstance(request, JudgedEvaluation):
            return self.judged(session, request, caller)
        return self.pair(session, request, caller)

    def pair(self, session: Session, request: PairEvaluation, caller: Access) -> PairEvaluation:
        """The request with the gallery's model, the crossings and the comparison named; of crossings left out, those
        of upgrades that the caller's key sees.

        Raises NotFound, NoRoute where no crossing leads from one space to the other, and Unprocessable.
        """
        dataset = of_dataset(self._datasets, request.dataset, session)
        searched = self._searched(session, request)
        gallery, against, places = _filled_in(request, searched)
        star = [] if request.unconstrained is None else [("/unconstrained", request.unconstrained)]
        by_queries = [("/queries", request.queries), *star]
        by_gallery = [(_place_of_gallery(request), gallery), *star]
        if against is not None:
            by_queries.append((places[0], against.queries))
            by_gallery.append((places[1], against.gallery))
        for _, model in [*by_queries, *by_gallery]:
            self._models.get(model, session)
        via, against = self._crossed(session, caller, request, gallery, against)
        _holds(dataset, by_queries, "queries")
        _holds(searched, by_gallery, "the gallery")
        _sliced(request, dataset, against)
        _measurable(request, dataset, [model for _, model in by_queries], searched, [model for _, model in by_gallery])
        return request.model_copy(update={"gallery": gallery, "via": via, "against": against})

    def chain(self, session: Session, request: ChainEvaluation) -> ChainEvaluation:
        """Checks a request to evaluate a chain. Raises NotFound, and Unprocessable where no row has all it takes."""
        dataset = of_dataset(self._datasets, request.dataset, session)
        for model in request.models:
            self._models.get(model, session)
        _holds(dataset, [(f"/models/{place}", model) for place, model in enumerate(request.models)], "queries")
        if not dataset.count(dataset.given(LABEL), *map(dataset.native, request.models)):
            raise Unprocessable.at(
                f"{dataset.name} has no row with both a label and a vector of every one of these models; a chain is "
                f"judged by labels. PUT /datasets/{request.dataset}/rows with a column label.",
                pointer="/dataset",
            )
        return request

    def judged(self, session: Session, request: JudgedEvaluation, caller: Access) -> JudgedEvaluation:
        """The same of an evaluation by judged queries: some of them must have what it takes."""
        asked = of_queries(self._datasets, request.dataset, session)
        if asked is None:
            raise Unprocessable.at(
                f"Dataset {request.dataset!r} has no judged queries: PUT /datasets/{request.dataset}/queries.",
                pointer="/dataset",
            )
        searched = self._searched(session, request)
        gallery, against, places = _filled_in(request, searched)
        _sliced(request, searched, against)
        by_queries, by_gallery = [("/queries", request.queries)], [(_place_of_gallery(request), gallery)]
        if against is not None:
            by_queries.append((places[0], against.queries))
            by_gallery.append((places[1], against.gallery))
        for _, model in [*by_queries, *by_gallery]:
            self._models.get(model, session)
        via, against = self._crossed(session, caller, request, gallery, against)
        _holds(asked, by_queries, "asked", f"PUT /datasets/{request.dataset}/queries")
        _holds(searched, by_gallery, "the gallery")
        if not asked.count(asked.given(RELEVANT), *(asked.native(model) for _, model in by_queries)):
            raise Unprocessable.at(
                f"No query of dataset {request.dataset!r} with these vectors has relevant items. "
                f"PUT /datasets/{request.dataset}/queries with a column {RELEVANT}.",
                pointer="/dataset",
            )
        return request.model_copy(update={"gallery": gallery, "via": via, "against": against})

    def _searched(self, session: Session, request: SearchEvaluation) -> Holding:
        if request.gallery_id is None:
            return of_dataset(self._datasets, request.dataset, session)
        return of_gallery(self._galleries, request.gallery_id, session)

    def _crossed(
        self, session: Session, caller: Access, request: SearchEvaluation, gallery: str, against: Pair | None
    ) -> tuple[str | None, Pair | None]:
        """The upgrade whose crossing is applied, and what is compared with, with its own."""
        via = self._via(session, caller, request.queries, gallery, request.via, "/via")
        if against is None:
            return via, None
        crossed = self._via(session, caller, against.queries, against.gallery, against.via, "/against/via")
        return via, against.model_copy(update={"via": crossed})

    def _via(
        self, session: Session, caller: Access, queries: str, gallery: str, upgrade: str | None, pointer: str
    ) -> str | None:
        """The upgrade whose crossing is applied; None where both are of one model."""
        if upgrade is None:
            if queries == gallery:
                return None
            return self._accepted_crossings.needed(gallery, queries, caller, session).upgrade
        crossing = self._accepted_crossings.named(upgrade, session)
        if (crossing.source, crossing.target) != (gallery, queries):
            raise Unprocessable.at(
                f"Upgrade {upgrade} leads from {crossing.source!r} to {crossing.target!r}, and what is needed here "
                f"leads from vectors of {gallery!r} to queries of {queries!r}. A crossing has a direction.",
                pointer=pointer,
            )
        if not crossing.learned:
            raise Unprocessable.at(
                f"Upgrade {upgrade} is {crossing.state}, and has learned nothing yet that could be used.",
                pointer=pointer,
            )
        return upgrade


def _filled_in(request: SearchEvaluation, searched: Holding) -> tuple[str, Pair | None, tuple[str, str]]:
    """The model of the vectors searched, what is compared with, and the places in the body that name its two models."""
    gallery = request.gallery or (searched.info.current.space.model if searched.info else "")
    if "against" not in request.model_fields_set and request.queries != gallery:
        place = _place_of_gallery(request)
        return gallery, Pair(queries=gallery, gallery=gallery), (place, place)
    return gallery, request.against, ("/against/queries", "/against/gallery")


def _place_of_gallery(request: SearchEvaluation) -> str:
    """Where a body says what model's vectors are searched: by the model, or by the gallery that is in its space."""
    return "/gallery" if request.gallery else "/gallery_id"


def _holds(holding: Holding, models: Sequence[tuple[str, str]], what: str, put: str | None = None) -> None:
    """Raises Unprocessable unless some row can be one of `what` for all models; each with its place in the body.

    put: the request that would put such rows, where it is not that of the dataset's rows or the gallery's items.
    """
    put = put or f"PUT /{'datasets/<id>/rows' if holding.info is None else 'galleries/<id>/items'}"
    for pointer, model in models:
        if not holding.count(holding.reached(model)):
            raise Unprocessable.at(
                f"{holding.name} has no vectors of model {model!r}, so it cannot be {what}. {put} with them.",
                pointer=pointer,
            )
    names = list(dict.fromkeys(model for _, model in models))
    if not holding.count(*map(holding.reached, names)):
        raise Unprocessable.at(
            f"No row of {holding.name[0].lower()}{holding.name[1:]} has vectors of all of {', '.join(names)}; two "
            "searches are compared on the same rows.",
            pointer=models[0][0],
        )


def _sliced(request: PairEvaluation | JudgedEvaluation, labelled: Holding, against: Pair | None) -> None:
    """Raises Unprocessable where slices lack what they are made by; labelled: whose labels a slice by label takes."""
    if request.slices and against is None:
        raise Unprocessable.at(
            "Slices are judged between two searches: give another pair in `against`.", pointer="/slices"
        )
    for place, name in enumerate(request.slices):
        if name == LABEL and not labelled.count(labelled.given(LABEL)):
            raise Unprocessable.at(f"{labelled.name} has no labels to slice by.", pointer=f"/slices/{place}")
        if name != LABEL and request.gallery_id is None:
            raise Unprocessable.at(
                f"`{name}` is a field of the items' payload: name the gallery that has them in `gallery_id`; rows of a "
                "dataset are sliced by `label`.",
                pointer=f"/slices/{place}",
            )


def _measurable(
    request: PairEvaluation, dataset: Holding, by_queries: Sequence[str], searched: Holding, by_gallery: Sequence[str]
) -> None:
    """Raises Unprocessable where a metric that was asked for, or every metric, lacks what it is measured by.

    by_queries, by_gallery: the models that every query, and every row searched, has a vector of.
    """
    asking = [dataset.reached(model) for model in by_queries]
    answering = [searched.reached(model) for model in by_gallery]
    labelled = dataset.count(dataset.given(LABEL), *asking) and searched.count(searched.given(LABEL), *answering)
    embedded = searched.count(*answering) == searched.count(*answering, searched.native(request.queries))
    no_labels = f"there are no labels on both sides ({dataset.name} and {searched.name} need them)"
    no_truth = (
        f"the true neighbours are not known: not every row searched of {searched.name} has a vector made by "
        f"{request.queries!r}"
    )
    for place, metric in enumerate(request.metrics or []):
        if not (embedded if metric == "recall@10" else labelled):
            lacking = no_truth if metric == "recall@10" else no_labels
            raise Unprocessable.at(f"`{metric}` cannot be measured: {lacking}.", pointer=f"/metrics/{place}")
    if not (labelled or embedded):
        raise Unprocessable.at(f"Nothing can be measured: {no_labels}, and {no_truth}.", pointer="/dataset")
