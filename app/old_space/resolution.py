"""What the database and the artifacts say of an upgrade whose new model answers in the old space."""

from __future__ import annotations

from dataclasses import dataclass

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
from app.storage.commits import CommitWatch
from app.storage.database import Database
from app.storage.kept_until_commit import KeptUntilCommit
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
        self._kept: KeptUntilCommit[_Asked, OldSpaceRoute] = KeptUntilCommit(commits, _MOST)

    def resolve(self, upgrade: str, caller: Access) -> OldSpaceRoute:
        """Raises NotFound, WrongState and NoRoute where the upgrade cannot answer; and EmbedderWrong where
        its embedder's connection is no longer there."""
        return self._kept.get((upgrade, caller.galleries), lambda: self._read(upgrade, caller))

    def known(self, upgrade: str, caller: Access) -> OldSpaceRoute | None:
        """What `resolve` would answer, where that takes no more than microseconds; None where it has to be called."""
        return self._kept.known((upgrade, caller.galleries))

    def _read(self, upgrade: str, caller: Access) -> OldSpaceRoute:
        with self._database.read() as session:
            served = served_upgrade(session, upgrade, caller)
            source, target = self._models.get(served.source, session), self._models.get(served.target, session)
        new = None if target.embedder is None else self._embedders.of(target.embedder, target.dimension, target.metric)
        if new is None:
            raise _none(
                served,
                f"Model {target.id!r} names no embedder, so its vectors cannot be made here. Name it: PUT "
                f"/models/{target.id}/embedder.",
            )
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
