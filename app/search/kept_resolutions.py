"""Resolved searches kept in memory, each used for as long as nothing is committed to the database."""

import threading
from dataclasses import dataclass, field

from app.keys.access import Access
from app.problems import NoRoute
from app.search.resolution import ResolvedSearch, SearchResolver
from app.search.routing import AskedRoute
from app.short_calls import leave_event_loop
from app.storage.commits import CommitWatch, Moment

_MOST = 4_096  # resolutions, which are small; what they are of exists, so that nobody makes them up

_Asked = tuple[str, str, AskedRoute | None, frozenset[str] | None, bool]
"""A gallery, a model, a route asked for by name, the galleries that the caller's key is bound to, and whether the
queries are items."""


@dataclass(frozen=True)
class _Kept:
    """What was resolved while the database stood at one moment, or after it: used only where that has not passed."""

    moment: Moment | None = None
    resolved: dict[_Asked, ResolvedSearch | NoRoute] = field(default_factory=dict)


class KeptResolutions:
    """A `SearchResolver` that reads the database only where something was committed since it read it last.

    The database is asked at every search, so that a change that was acknowledged, in whichever process, is seen by
    every search that begins after it. That no route leads there is kept as well.
    """

    def __init__(self, resolver: SearchResolver, commits: CommitWatch) -> None:
        self._resolver = resolver
        self._commits = commits
        self._keeping = threading.Lock()
        self._kept = _Kept()

    def resolve(
        self, gallery: str, model: str, wanted: AskedRoute | None, caller: Access, *, like: bool = False
    ) -> ResolvedSearch:
        """As `SearchResolver.resolve`."""
        asked = (gallery, model, wanted, caller.galleries, like)
        if not self._commits.soon:
            leave_event_loop()
        now = self._commits.now()  # before anything is read: what is committed while it is read makes it old at once
        kept = self._kept
        known = kept.resolved.get(asked) if now is not None and now == kept.moment else None
        if known is None:
            leave_event_loop()
            known = self._read(gallery, model, wanted, caller, like)
            if now is not None:
                self._keep(now, asked, known)
        if isinstance(known, NoRoute):
            raise known.with_traceback(None)  # else each that it is raised to would lengthen it
        return known

    def _read(
        self, gallery: str, model: str, wanted: AskedRoute | None, caller: Access, like: bool
    ) -> ResolvedSearch | NoRoute:
        try:
            return self._resolver.resolve(gallery, model, wanted, caller, like=like)
        except NoRoute as none:
            return none

    def _keep(self, moment: Moment, asked: _Asked, resolved: ResolvedSearch | NoRoute) -> None:
        with self._keeping:
            if self._kept.moment != moment or len(self._kept.resolved) >= _MOST:
                self._kept = _Kept(moment)
            self._kept.resolved[asked] = resolved
