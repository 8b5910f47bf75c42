"""What the database knows of a search, read once before anything else is done."""

from dataclasses import dataclass, replace
from typing import Any, get_args

from sqlalchemy.orm import Session

from app.artifacts.cascade import has_cascade
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.fusions import has_fusion
from app.artifacts.shared import SharedArtifacts
from app.embedders.configured import ConfiguredEmbedders, ModelEmbedder
from app.embedders.options import OpenAIOptions
from app.galleries.info import GalleryInfo, GenerationInfo
from app.galleries.service import Galleries, require_here
from app.keys.access import Access
from app.problems import NoRoute
from app.registry.service import Models
from app.search.fused_routing import NothingToFuse, find_fused_route
from app.search.routing import AskedRoute, Route, choices, find_route
from app.settings import Settings
from app.storage.database import Database
from app.upgrades import accepted_crossings
from models.portable import Space


@dataclass(frozen=True)
class ResolvedSearch:
    """Where queries of a model are searched, and by which route. No session is needed to search from here on.

    gallery: as it was when this was read. queries: the space that the queries' vectors are in. old_queries: the space
    of the old model's vectors beside them, on the fused route alone. embedder: of the queries' model, where what
    the route finds is to be reranked.
    """

    gallery: GalleryInfo
    queries: Space
    route: Route
    old_queries: Space | None = None
    embedder: ModelEmbedder | None = None

    @property
    def dimension(self) -> int:
        """How many components the vector of each query must have."""
        return self.queries.dimension

    @property
    def old_dimension(self) -> int:
        """How many components the old model's vector of each query must have. Raises ValueError off the fused route."""
        if self.old_queries is None:
            raise ValueError(f"route {self.route.name} takes no vectors of an old model")
        return self.old_queries.dimension

    @property
    def generation(self) -> GenerationInfo:
        """The generation that answers."""
        return self.gallery.generations[self.route.generation]


class SearchResolver:
    """Resolves searches, each in one session and in as many statements as its route takes, whatever the number of
    generations of its gallery."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        models: Models,
        galleries: Galleries,
        embedders: ConfiguredEmbedders,
    ) -> None:
        self._settings = settings
        self._shared = SharedArtifacts(settings)
        self._database = database
        self._models = models
        self._galleries = galleries
        self._embedders = embedders

    def resolve(
        self, gallery: str, model: str, wanted: AskedRoute | None, caller: Access, *, like: bool = False
    ) -> ResolvedSearch:
        """How queries of a model reach a gallery. wanted: the route that the request names, if it names one, or `fused`
        where its queries come with the old model's vectors. caller: who asks, and is told of nothing that it may not
        see. like: whether the queries are items of the gallery, which have vectors of their own.

        Raises NotFound for the gallery and for the model, NoRoute where no route leads there, or not the one wanted,
        and, where `reranked` is, ItemsElsewhere, and EmbedderWrong for an embedder that is configured no longer.
        """
        embedder = None
        with self._database.read() as session:
            info = self._galleries.info(gallery, session)
            spaces = {generation.space.model: generation.space for generation in info.generations.values()}
            queries = spaces.get(model) or self._models.spaces([model], session)[model]
            if wanted == "fused":
                route = self._fused(session, info, model, caller, like)
            else:
                route = self._route(session, info, model, caller, wanted)
                if wanted == "reranked" and route.name != "direct":  # where every vector is a real one already
                    embedder = self._embedder(session, info, model, route)
        # What follows may wait for an object store, and holds no connection to the database meanwhile.
        if route.pushed is not None or any(one.upgrade is not None for one in info.generations.values()):
            self._shared.refresh()  # searches look for artifacts here alone
        if wanted == "fused":
            self._check_fusion(info, model, route, like)
            old = info.generations[route.generation if route.beside is None else route.beside].space
            return ResolvedSearch(info, queries, route, old)
        if route.name == "instant" and has_cascade(self._artifacts(route)):
            route = replace(route, name="cascade")
        if wanted != "reranked":
            route = _as_wanted(info, model, route, wanted)
        return ResolvedSearch(info, queries, route, embedder=embedder)

    def _route(
        self, session: Session, info: GalleryInfo, model: str, caller: Access, wanted: AskedRoute | None
    ) -> Route:
        """The route that is taken unasked, or, of an upgrade accepted only as fused, where a route is named; `instant`
        also where its artifacts may say that it is `cascade`. Raises NoRoute, which says what would make one."""
        if (route := find_route(info, model)) is not None:
            return route
        crossings = accepted_crossings.proved_crossings(session, info).get(model)
        crossing = None if crossings is None else crossings.alone or crossings.newest
        upgrade = None if crossing is None or (crossing.fused_only and wanted is None) else crossing.upgrade
        route = find_route(info, model, accepted_crossings.compatible(session, model), upgrade)
        if route is None:
            if crossing is not None:
                raise _fused_only(info, model, crossing, caller)
            why = accepted_crossings.missing(session, info, model, caller)
            raise NoRoute(why, gallery=info.id, generation=info.active, model=model)
        return route

    def _fused(self, session: Session, info: GalleryInfo, model: str, caller: Access, like: bool) -> Route:
        """The fused route, whose artifacts are not looked at. Raises NoRoute, which says why there is none, and what
        would make one where one can be."""
        unfused = _unfused(like)
        about: dict[str, Any] = {"gallery": info.id, "generation": info.active, "model": model}
        try:
            route = find_fused_route(info, model, None)
            if route is None:
                crossings = accepted_crossings.proved_crossings(session, info).get(model)
                route = find_fused_route(info, model, None if crossings is None else crossings.newest.upgrade)
        except NothingToFuse as nothing:
            raise NoRoute(f"{nothing} {unfused}.", **about) from None
        if route is None:
            if find_route(info, model, accepted_crossings.compatible(session, model)) is not None:
                raise NoRoute(
                    f"Model {model!r} was trained to search gallery {info.id!r} by itself. {unfused}.", **about
                )
            raise NoRoute(accepted_crossings.missing(session, info, model, caller), **about)
        return route

    def _embedder(self, session: Session, info: GalleryInfo, model: str, route: Route) -> ModelEmbedder:
        """What embeds candidates. Raises NoRoute where a model has no embedder that the gateway can ask, and as
        `resolve`."""
        require_here(info)
        registered = self._models.get(model, session)
        how = (
            None
            if registered.embedder is None
            else self._embedders.of(registered.embedder, registered.dimension, registered.metric)
        )
        why = None
        if route.name == "compatible":
            why = f"Model {model!r} was trained to search vectors of another, and items are not embedded with it."
        elif how is None:
            why = f"Model {model!r} names no embedder. Name it: PUT /models/{model}/embedder."
        elif not isinstance(how.options, OpenAIOptions):
            why = f"The embedder of {model!r} is {how.options.told}, which workers load, and not the gateway."
        if how is None or why is not None:
            raise NoRoute(
                f"{why} Or leave `route` out: gallery {info.id!r} answers by `{route.name}`.",
                gallery=info.id,
                generation=route.generation,
                model=model,
                route=route.name,
            )
        return how

    def _check_fusion(self, info: GalleryInfo, model: str, route: Route, like: bool) -> None:
        """Raises NoRoute where the upgrade of a fused route did not learn how to fuse."""
        if not has_fusion(self._artifacts(route), info.id):
            raise NoRoute(
                f"The upgrade of gallery {info.id!r} to {model!r} was made by an earlier release, and did not learn "
                f"how to fuse the scores of the two models. {_unfused(like)}, or start such an upgrade anew.",
                gallery=info.id,
                generation=info.active,
                model=model,
            )

    def _artifacts(self, route: Route) -> UpgradeArtifacts:
        """Of the upgrade whose transformation is pushed into the queries, as this machine has them."""
        return UpgradeArtifacts(self._settings.artifacts_dir, str(route.pushed))


def _unfused(like: bool) -> str:
    """How to search without fusing. like: whether the queries are items of the gallery."""
    return "So `like` cannot be used with `fused`: leave `route` out" if like else "Leave `old_vector` out"


def _fused_only(info: GalleryInfo, model: str, crossing: accepted_crossings.ProvedCrossing, caller: Access) -> NoRoute:
    """Where the crossing alone did not meet the gate. Its upgrade is named to whom the caller's key shows it."""
    old, seen = info.current.space, caller.sees_upgrade_of(crossing.galleries)
    upgrade = f"Upgrade {crossing.upgrade}" if seen else f"The upgrade to {model!r}"
    named: dict[str, Any] = {"upgrade": crossing.upgrade} if seen else {}
    return NoRoute(
        f"{upgrade} was accepted only as fused: its crossing alone did not meet the gate. Send what {old.model!r} "
        f"makes of the same query beside it ({old.dimension} numbers): `old_vector` in GET /search, `old_vectors` in "
        "JSON, a column `old_vector` in Arrow or npz. `route=instant` answers by the crossing alone all the same.",
        gallery=info.id,
        generation=info.active,
        model=model,
        old_model=old.model,
        **named,
    )


def _as_wanted(info: GalleryInfo, model: str, route: Route, wanted: AskedRoute | None) -> Route:
    """The route that is taken where a request may name another than the one taken unasked. Raises NoRoute."""
    if wanted is None or wanted == route.name:
        return route
    if wanted not in choices(route):
        # Unnamed, it is not taken where the upgrade was accepted only as fused.
        instead = f"Name `{route.name}`." if route.name in get_args(AskedRoute) else "Leave `route` out."
        raise NoRoute(
            f"Gallery {info.id!r} answers queries of {model!r} by `{route.name}`, and not by `{wanted}`. {instead}",
            gallery=info.id,
            generation=route.generation,
            model=model,
            route=route.name,
        )
    return replace(route, name=wanted)
