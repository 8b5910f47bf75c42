"""What the database knows of a search, read once before anything else is done."""

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from app.artifacts.cascade import has_cascade
from app.artifacts.folder import UpgradeArtifacts
from app.galleries.info import GalleryInfo, GenerationInfo
from app.galleries.service import Galleries
from app.keys.access import Access
from app.problems import NoRoute
from app.registry.service import Models
from app.search.routing import AskedRoute, Route, choices, find_route
from app.settings import Settings
from app.storage.database import Database
from app.upgrades import accepted_crossings
from models.portable import Space


@dataclass(frozen=True)
class ResolvedSearch:
    """Where queries of a model are searched, and by which route. No session is needed to search from here on.

    gallery: as it was when this was read. queries: the space that the queries' vectors are in.
    """

    gallery: GalleryInfo
    queries: Space
    route: Route

    @property
    def dimension(self) -> int:
        """How many components the vector of each query must have."""
        return self.queries.dimension

    @property
    def generation(self) -> GenerationInfo:
        """The generation that answers."""
        return self.gallery.generations[self.route.generation]


class SearchResolver:
    """Resolves searches, each in one session and in as many statements as its route takes, whatever the number of
    generations of its gallery."""

    def __init__(self, settings: Settings, database: Database, models: Models, galleries: Galleries) -> None:
        self._settings = settings
        self._database = database
        self._models = models
        self._galleries = galleries

    def resolve(self, gallery: str, model: str, wanted: AskedRoute | None, caller: Access) -> ResolvedSearch:
        """How queries of a model reach a gallery. wanted: the route that the request names, if it names one. caller:
        who asks, and is told of nothing that it may not see.

        Raises NotFound for the gallery and for the model, and NoRoute where no route leads there, or not the one
        wanted.
        """
        with self._database.read() as session:
            info = self._galleries.info(gallery, session)
            spaces = {generation.space.model: generation.space for generation in info.generations.values()}
            queries = spaces.get(model) or self._models.spaces([model], session)[model]
            route = self._route(session, info, model, caller)
        return ResolvedSearch(info, queries, _as_wanted(info, model, route, wanted))

    def _route(self, session: Session, info: GalleryInfo, model: str, caller: Access) -> Route:
        """The route that is taken unasked. Raises NoRoute, which says what would make one."""
        if (route := find_route(info, model)) is not None:
            return route
        crossing = accepted_crossings.crossable(session, info).get(model)
        cascade = crossing is not None and has_cascade(UpgradeArtifacts(self._settings.artifacts_dir, crossing))
        route = find_route(info, model, accepted_crossings.compatible(session, model), crossing, cascade=cascade)
        if route is None:
            why = accepted_crossings.missing(session, info, model, caller)
            raise NoRoute(why, gallery=info.id, generation=info.active, model=model)
        return route


def _as_wanted(info: GalleryInfo, model: str, route: Route, wanted: AskedRoute | None) -> Route:
    """The route that is taken where a request may name another than the one taken unasked. Raises NoRoute."""
    if wanted is None or wanted == route.name:
        return route
    if wanted not in choices(route):
        raise NoRoute(
            f"Gallery {info.id!r} answers queries of {model!r} by `{route.name}`, and not by `{wanted}`. Leave "
            "`route` out.",
            gallery=info.id,
            generation=route.generation,
            model=model,
            route=route.name,
        )
    return replace(route, name=wanted)
