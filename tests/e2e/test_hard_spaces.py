"""Spaces as real models have them, and as toys and mistakes make them: an upgrade ends with a verdict."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.e2e.conftest import NewScene
from tests.worlds import Items, World, world


def with_nearly_dead_dimensions(items: Items, seed: int) -> Items:
    """Three dimensions of the old model are 1e-33 in every item, as in one widely used model of texts."""
    old = items.old.copy()
    old[:, -3:] = 1e-33 * np.random.default_rng(seed).standard_normal((len(items), 3))
    return dataclasses.replace(items, old=old)


@pytest.mark.parametrize("method", ["orthogonal", "ridge", "residual_mlp"])
def test_a_model_with_nearly_dead_dimensions_is_upgraded_from(scene: NewScene, method: str) -> None:
    seen = world(items=240, queries=40)
    s = scene(
        World(with_nearly_dead_dimensions(seen.gallery, 0), with_nearly_dead_dimensions(seen.queries, 1))
    ).filled()
    s.reaches(s.start(method=method, activate="manually"), "ready")
    answer = s.ask(s.new)
    assert answer.route in ("instant", "cascade")
    assert np.isfinite(answer.scores).all()


@pytest.mark.parametrize("new", ["the old vectors", "zeros"])
def test_a_crossing_that_misses_no_pair_ends_with_a_verdict(scene: NewScene, new: str) -> None:
    seen = world(items=120, queries=20, classes=4)
    corner = np.eye(seen.gallery.new.shape[1], dtype=np.float32)

    def simple(items: Items) -> Items:
        code = np.array([int(label.removeprefix("class-")) for label in items.label])
        vectors = corner[code] if new == "the old vectors" else np.zeros_like(items.new)
        return dataclasses.replace(items, old=corner[code][:, : items.old.shape[1]].copy(), new=vectors)

    s = scene(World(simple(seen.gallery), simple(seen.queries))).filled()
    upgrade = s.settles(s.start(method="orthogonal", activate="manually"))
    assert upgrade["state"] in ("ready", "rejected"), upgrade["reason"]


@pytest.mark.parametrize("labels", ["each its own", "one for all", "most their own"])
def test_labels_that_cannot_judge_judge_nothing_and_the_report_says_so(scene: NewScene, labels: str) -> None:
    seen = world(items=180, queries=20, classes=6)
    alone = [f"sku-{row}" for row in range(180)]
    given = {
        "each its own": alone,
        "one for all": ["all"] * 180,
        "most their own": [*seen.gallery.label[:60], *alone[60:]],
    }
    s = scene(World(dataclasses.replace(seen.gallery, label=given[labels]), seen.queries)).filled()
    report = s.reaches(s.start(method="ridge", dry_run=True), "evaluated")["report"]["galleries"][s.gallery]
    assert report["basis"]["judged_by"] == "neighbours"
    assert any("Labels cannot say which answers are right" in note for note in report["notes"])
    assert "no better" not in report["reason"]
    assert {result["metric"] for result in report["metrics"]} == {"recall@10"}
    quality = {rung["name"]: rung["quality"] for rung in report["advice"]}
    assert quality["transform"]["mean"] > quality["stay"]["mean"] > 0
