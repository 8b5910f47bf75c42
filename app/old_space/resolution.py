"""What the database and the artifacts say of an upgrade whose new model answers in the old space."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.fusions import has_fusion, open_fusion
from app.artifacts.shared import SharedArtifacts
from app.embedders.configured import ConfiguredEmbedders, ModelEmbedder
from app.embedders.options import OpenAIOptions
from app.keys.access import Access
from app.problems import NoRoute
from app.registry.service import Models
from app.settings import Settings
from app.storage.commits import CommitWatch, Moment
from app.storage.database import Database
from app.upgrades.served_upgrades import ProvedQuality, ServedUpgrade, served_upgrade
from models.portable import Fusion, Space, Transformation

_MOST = 1_024


@dataclass(frozen=True)
class OldSpaceRoute:
    """How texts become vectors of an old space. new: embeds them with the new model; old: with the old one, where it
    has an embedder that the gateway can ask; fusion: how the two are fused, where that was learned for one gallery."""

    upgrade: ServedUpgrade
    source: Space
    target: Space
    new: ModelEmbedder
    old: ModelEmbedder | None
    crossing: Transformation
    fusion: Fusion | None

    @property
    def quality(self) -> ProvedQuality | None:
        """What was proved of how queries are answered."""
        return self.upgrade.instant if self.fusion is None else self.upgrade.fused


_Asked = tuple[str, frozenset[str] | None]
"""An upgrade, and the galleries that the caller's key is bound to."""


@dataclass(frozen=True)
class _KeptRoutes:
    """What was resolved while the database stood at one moment, or after it: used only where that has not passed. One
    thread may read both while another puts others in their place, so that they are kept together."""

    moment: Moment | None = None
    routes: dict[_Asked, OldSpaceRoute] = field(default_factory=dict)


class OldSpaceResolver:
    """Resolves upgrades, and keeps what was found for as long as nothing is committed to the database."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        models: Models,
        embedders: ConfiguredEmbedders,
        commits: CommitWatch,
    ) -> None:
        self._settings = settings
        self._shared = SharedArtifacts(settings)
        self._database = database
        self._models = models
        self._embedders = embedders
        self._commits = commits
        self._keeping = threading.Lock()
        self._kept = _KeptRoutes()

    def resolve(self, upgrade: str, caller: Access) -> OldSpaceRoute:
        """Raises NotFound, WrongState and NoRoute where the upgrade cannot answer; and EmbedderWrong where
        its embedder's connection is no longer there."""
        now = self._commits.now()  # before anything is read: what is committed while it is read makes it old at once
        known = self._known(now, (upgrade, caller.galleries))
        if known is None:
            known = self._read(upgrade, caller)
            if now is not None:
                self._keep(now, (upgrade, caller.galleries), known)
        return known

    def known(self, upgrade: str, caller: Access) -> OldSpaceRoute | None:
        """What `resolve` would answer, where that takes no more than microseconds; None where it has to be called."""
        return self._known(self._commits.now(), (upgrade, caller.galleries)) if self._commits.soon else None

    def _known(self, now: Moment | None, asked: _Asked) -> OldSpaceRoute | None:
        kept = self._kept
        return kept.routes.get(asked) if now is not None and now == kept.moment else None

    def _keep(self, moment: Moment, asked: _Asked, route: OldSpaceRoute) -> None:
        with self._keeping:
            if self._kept.moment != moment or len(self._kept.routes) >= _MOST:
                self._kept = _KeptRoutes(moment)
            self._kept.routes[asked] = route

    def _read(self, upgrade: str, caller: Access) -> OldSpaceRoute:
        with self._database.read() as session:
            served = served_upgrade(session, upgrade, caller)
            source, target = self._models.get(served.source, session), self._models.get(served.target, session)
        new = None if target.embedder is None else self._embedders.of(target.embedder, target.dimension, target.metric)
        if new is None:
            raise _none(served, f"Model {target.id!r} names no embedder, so its vectors cannot be made here.")
        if not isinstance(new.options, OpenAIOptions):
            raise _none(
                served,
                f"The embedder of {target.id!r} is {new.options.told}, which workers load, and not the gateway.",
            )
        old = None if source.embedder is None else self._embedders.of(source.embedder, source.dimension, source.metric)
        if old is not None and not isinstance(old.options, OpenAIOptions):
            old = None
        self._shared.refresh()
        artifacts = UpgradeArtifacts(self._settings.artifacts_dir, served.id)
        spaces = (Space(source.id, source.dimension, source.metric), Space(target.id, target.dimension, target.metric))
        crossing = open_crossing(artifacts, *spaces).plain
        fusion = None
        if old is not None and len(served.galleries) == 1 and has_fusion(artifacts, served.galleries[0]):
            fusion = open_fusion(artifacts, served.galleries[0], *spaces)
        if served.fused_only and fusion is None:
            raise _none(
                served,
                f"Upgrade {served.id} was accepted only as fused with the old model's queries: {source.id!r} must name "
                "an embedder over HTTP too, and the upgrade be of one gallery.",
            )
        return OldSpaceRoute(served, *spaces, new, old, crossing, fusion)


def _none(served: ServedUpgrade, why: str) -> NoRoute:
    return NoRoute(why, upgrade=served.id, model=served.target)
