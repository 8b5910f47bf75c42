"""Resolved searches kept in memory, each used for as long as nothing is committed to the database."""

from app.keys.access import Access
from app.problems import NoRoute
from app.search.resolution import ResolvedSearch, SearchResolver
from app.search.routing import AskedRoute
from app.storage.commits import CommitWatch
from app.storage.kept_until_commit import KeptUntilCommit

_MOST = 4_096  # resolutions, which are small; what they are of exists, so that nobody makes them up

_Asked = tuple[str, str, AskedRoute | None, frozenset[str] | None, bool]
"""A gallery, a model, a route asked for by name, the galleries that the caller's key is bound to, and whether the
queries are items."""


class KeptResolutions:
    """A `SearchResolver` that reads the database only where something was committed. That no route leads there is kept
    as well."""

    def __init__(self, resolver: SearchResolver, commits: CommitWatch) -> None:
        self._resolver = resolver
        self._kept: KeptUntilCommit[_Asked, ResolvedSearch | NoRoute] = KeptUntilCommit(commits, _MOST)

    def resolve(
        self, gallery: str, model: str, wanted: AskedRoute | None, caller: Access, *, like: bool = False
    ) -> ResolvedSearch:
        """As `SearchResolver.resolve`."""

        def read() -> ResolvedSearch | NoRoute:
            try:
                return self._resolver.resolve(gallery, model, wanted, caller, like=like)
            except NoRoute as none:
                return none

        known = self._kept.get((gallery, model, wanted, caller.galleries, like), read)
        if isinstance(known, NoRoute):
            raise known.with_traceback(None)  # else each that it is raised to would lengthen it
        return known
