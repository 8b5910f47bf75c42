"""A migration that the crossing alone does not carry: accepted as fused with the old model's queries, and undone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.portable import Space, load_fusion, load_transformation
from tests.e2e.conftest import NewScene, ServiceInside
from tests.e2e.user import Answer, Scene, checked, digests, problem
from tests.similarity import similarity
from tests.worlds import NEW, OLD


@dataclass(frozen=True)
class FusedMigration:
    """A scene whose new model is worse than the old one, and knows what the old one does not."""

    scene: Scene
    data: Path
    before: dict[str, str]
    id: str

    def digests(self) -> dict[str, str]:
        return digests(self.data, self.scene.gallery)

    def body(self, **more: Any) -> dict[str, Any]:
        s = self.scene
        return {"gallery": s.gallery, "model": s.dull, "k": 10, "vectors": s.world.queries.dull.tolist(), **more}

    def ask(self) -> Answer:
        old_vectors = self.scene.world.queries.old.tolist()
        return Answer.of(checked(self.scene.client.post("/search", json=self.body(old_vectors=old_vectors))))

    def refused(self) -> dict[str, Any]:
        return problem(self.scene.client.post("/search", json=self.body()), 409, "no-route")


@pytest.fixture(scope="module")
def migration(scene: NewScene, service: ServiceInside) -> FusedMigration:
    s = scene()
    s.put(s.world.gallery)
    s.put_pairs(s.world.pairs(200), s.dull)
    before = digests(service.data, s.gallery)
    alone = s.start(to=s.dull, fused=False, activate="manually")
    assert "no better than the old" in s.reaches(alone, "rejected")["reason"]
    return FusedMigration(s, service.data, before, s.start(to=s.dull, activate="manually"))


def test_migration_that_the_crossing_alone_has_rejected_is_accepted_as_fused_searched_and_rolled_back(
    migration: FusedMigration,
) -> None:
    s, upgrade = migration.scene, migration.id
    ready = s.reaches(upgrade, "ready")
    assert ready["served_as"] == "fused"
    assert migration.digests() == migration.before
    old = s.ask(s.old)
    for state in ("ready", "active"):
        if state == "active":
            s.post(f"/upgrades/{upgrade}/activate")
        assert s.upgrade(upgrade)["state"] == state
        fused = migration.ask()
        assert (fused.route, fused.generation) == ("fused", 1)
        assert s.right(fused) > s.right(old)
        refused = migration.refused()
        assert f"Upgrade {upgrade} was accepted only as fused" in refused["detail"]
        alone = s.ask(s.dull, route="instant")
        assert s.right(alone) < s.right(fused)
        assert s.ask(s.old) == old
    assert s.post(f"/upgrades/{upgrade}/rollback")["state"] == "rolled_back"
    assert f"POST /upgrades/{upgrade}/activate" in migration.refused()["detail"]
    assert s.ask(s.old) == old
    assert (list(s.generations()), s.active()) == ([1], 1)
    assert migration.digests() == migration.before


def test_fused_answers_are_scored_by_both_models_as_the_artifacts_say(migration: FusedMigration) -> None:
    s, upgrade = migration.scene, migration.id
    s.reaches(upgrade, "ready", "active", "rolled_back")
    s.post(f"/upgrades/{upgrade}/activate")
    answer, gallery, queries = migration.ask(), s.world.gallery, s.world.queries
    source, target = Space(s.old, OLD, "cosine"), Space(s.dull, NEW, "cosine")
    folder = migration.data / "artifacts" / upgrade
    crossed = load_transformation(folder / "chosen", source=source, target=target).apply(gallery.old)
    fusion = load_fusion(folder / "fusion" / s.gallery, source=source, target=target)

    s_old, s_new = similarity(queries.old, gallery.old, "cosine"), similarity(queries.dull, crossed, "cosine")
    scores = fusion.scores(queries.old, queries.dull, s_old, s_new)
    place = {name: row for row, name in enumerate(gallery.id)}
    for query, (ids, found) in enumerate(zip(answer.ids, answer.scores, strict=True)):
        np.testing.assert_allclose(found, [scores[query, place[name]] for name in ids], atol=1e-4)
    best = np.argsort(-scores, axis=1)[:, :10]
    overlap = [
        len(set(ids) & {gallery.id[row] for row in rows}) / 10 for ids, rows in zip(answer.ids, best, strict=True)
    ]
    assert np.mean(overlap) > 0.95


def test_rewritten_gallery_is_searched_by_both_models_through_backfilling_until_it_is_rolled_back(
    scene: NewScene,
) -> None:
    s = scene().filled()
    upgrade = s.start()
    assert s.reaches(upgrade, "active")["served_as"] is None
    queries = s.world.queries
    body = {"gallery": s.gallery, "model": s.new, "k": 10, "vectors": queries.new.tolist()}
    fused = {**body, "old_vectors": queries.old.tolist()}
    before = checked(s.client.post("/search", json=fused))
    assert (before["route"], before["generation"], before["exact"]) == ("fused", 2, True)
    assert s.right(Answer.of(before)) > s.right(s.ask(s.old))
    s.put(s.world.gallery.take(slice(0, 200)), s.new)
    since = checked(s.client.post("/search", json=fused))
    assert (since["route"], since["generation"], since["exact"]) == ("fused", 2, True)
    assert since["results"] != before["results"]
    s.post(f"/upgrades/{upgrade}/rollback")
    problem(s.client.post("/search", json=fused), 409, "no-route")
