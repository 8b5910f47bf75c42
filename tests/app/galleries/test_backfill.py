"""What to re-embed next: who is asked for, in which order, and what is predicted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.artifacts.folder import UpgradeArtifacts
from app.galleries.backfill import from_now_on
from app.upgrades.states import UpgradeState
from tests.app.galleries.upgraded import ITEMS, PREDICTED, Upgraded, curve
from tests.command import run_command
from tests.e2e.user import problem
from tests.upgrade_rows import store_upgrade


def ids(backfill: dict[str, Any]) -> list[str]:
    return [one["id"] for one in backfill["next"]]


def test_gallery_that_was_never_upgraded_has_nothing_to_backfill(upgraded: Upgraded) -> None:
    refused = problem(upgraded.client.get("/galleries/shop/backfill"), 409, "wrong-state")
    assert "POST /models/old/upgrade" in refused["detail"]
    upgraded.upgrade()
    upgraded.post("/galleries/shop/activate", {"generation": 1})
    refused = problem(upgraded.client.get("/galleries/shop/backfill"), 409, "wrong-state")
    assert "Switch to generation 2" in refused["detail"]
    problem(upgraded.client.get("/galleries/nowhere/backfill"), 404, "not-found")


def test_transformed_items_alone_are_asked_for_as_they_are_now(upgraded: Upgraded) -> None:
    upgraded.upgrade()
    upgraded.put("new", range(10))
    upgraded.change(range(5))
    upgraded.post("/galleries/shop/items/delete", {"ids": upgraded.ids[-3:]})
    backfill = upgraded.backfill(order="random", limit=1000)
    assert sorted(ids(backfill)) == sorted([*upgraded.ids[:5], *upgraded.ids[10:-3]])
    assert (backfill["items"], backfill["native_items"]) == (ITEMS - 3, 5)
    assert backfill["share"] == pytest.approx(5 / (ITEMS - 3))
    label = dict(zip(upgraded.ids, upgraded.label, strict=True))
    assert all(one["label"] == label[one["id"]] for one in backfill["next"])


def test_fewer_are_the_first_of_more(upgraded: Upgraded) -> None:
    upgraded.upgrade()
    for order in ("random", "class_mean_distance"):
        everything = ids(upgraded.backfill(order=order, limit=1000))
        assert ids(upgraded.backfill(order=order, limit=7)) == everything[:7]
        assert everything != upgraded.ids
    problem(upgraded.client.get("/galleries/shop/backfill", params={"limit": 10_001}), 422, "validation-error")
    problem(upgraded.client.get("/galleries/shop/backfill", params={"order": "size"}), 422, "validation-error")


def test_distance_from_the_class_mean_is_that_of_the_transformed_vectors(upgraded: Upgraded) -> None:
    upgraded.upgrade()
    transformed, label = upgraded.h.apply(upgraded.old), np.array(upgraded.label, object)
    distance = [
        -1.0 if one is None else float(np.linalg.norm(vector - transformed[label == one].mean(axis=0)))
        for one, vector in zip(label, transformed, strict=True)
    ]
    expected = [upgraded.ids[place] for place in sorted(range(ITEMS), key=lambda place: -distance[place])]
    assert ids(upgraded.backfill(order="class_mean_distance", limit=1000)) == expected


def test_items_expected_to_miss_most_come_first(upgraded: Upgraded) -> None:
    upgraded.upgrade()
    upgraded.put("new", range(10))
    late = range(10, 14)
    upgraded.put("old", late)
    expected = upgraded.uncertainty.expected_error(upgraded.old, None, upgraded.h.apply(upgraded.old))
    order = sorted(range(10, ITEMS), key=lambda place: -expected[place])
    backfill = upgraded.backfill(limit=1000)
    assert backfill["order"] == "uncertainty"
    assert ids(backfill) == [upgraded.ids[place] for place in order]
    assert [one["expected_error"] for one in backfill["next"]] == pytest.approx(expected[order].tolist(), rel=1e-4)


def test_upgrade_that_learned_no_uncertainty_says_so_and_what_to_do(upgraded: Upgraded) -> None:
    upgraded.upgrade(uncertain=False)
    refused = problem(upgraded.client.get("/galleries/shop/backfill"), 409, "wrong-state")
    assert "Generation 2 of gallery 'shop'" in refused["detail"]
    assert "class_mean_distance" in refused["detail"]
    assert upgraded.backfill(order="random", limit=1)["next"][0]["expected_error"] is None


def test_rows_that_training_found_the_old_model_poor_on_go_first(upgraded: Upgraded) -> None:
    upgraded.upgrade()
    refused = problem(upgraded.client.get("/galleries/shop/backfill?order=old_model_poor"), 409, "wrong-state")
    assert "instance_weights" in refused["detail"]
    poor = {"item-07": 3.0, "item-30": 1.0, "item-02": 2.0, "item-05": None}
    trained(upgraded, "upg-1", poor)
    trained(upgraded, "upg-2", {"of another world": 5.0})
    assert ids(upgraded.backfill(order="old_model_poor", limit=3)) == ["item-07", "item-02", "item-30"]


def trained(upgraded: Upgraded, name: str, poor: dict[str, float | None]) -> None:
    """A model was trained to be compatible with the old one, with instance weights."""
    request = {"strategy": "compatible"}
    database = upgraded.crosswalk.database
    store_upgrade(database, name, UpgradeState.ACTIVE, ["shop"], request=request, target="trained")
    artifacts = UpgradeArtifacts(upgraded.crosswalk.settings.artifacts_dir, name)
    artifacts.folder.mkdir(parents=True)
    table = {"id": list(poor), "old_model_poor": pa.array(poor.values(), pa.float32())}
    pq.write_table(pa.table(table), artifacts.rows)


def test_curve_goes_on_from_where_the_backfill_is(upgraded: Upgraded) -> None:
    upgraded.upgrade()
    upgraded.put("new", range(ITEMS // 4 * 2))
    backfill = upgraded.backfill(order="random", limit=1)
    assert backfill["metric"] == PREDICTED["metric"]
    assert [(point["share"], point["items"]) for point in backfill["curve"]] == [(0.5, 0), (0.75, 10), (1.0, 20)]
    assert [point["mean"] for point in backfill["curve"]] == pytest.approx([0.6, 0.65, 0.7])
    assert upgraded.backfill(order="class_mean_distance", limit=1)["curve"] == []


def test_a_curve_that_holds_in_any_order_is_told_of_every_order(upgraded: Upgraded) -> None:
    upgraded.upgrade({"metric": "cmc@1", "any_order": True, "curves": {"uncertainty": curve(0.5, 0.9)}})
    told = [upgraded.backfill(order=order, limit=1)["curve"] for order in ("uncertainty", "random")]
    assert [point["mean"] for point in told[0]] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert told[1] == told[0]


def test_upgrade_that_predicted_nothing_has_no_curve(upgraded: Upgraded) -> None:
    upgraded.upgrade(None)
    backfill = upgraded.backfill(order="random")
    assert (backfill["metric"], backfill["curve"]) == (None, [])


def test_share_between_two_points_of_a_curve_is_interpolated() -> None:
    points = [{"share": share, "mean": share, "low": share - 0.5, "high": 2 * share} for share in (0.0, 0.5, 1.0)]
    first, *rest = from_now_on(points, 0.25, 1000)
    assert (first.items, first.share, first.mean, first.low, first.high) == (0, 0.25, 0.25, -0.25, 0.5)
    assert [(point.items, point.share) for point in rest] == [(250, 0.5), (750, 1.0)]


def test_command_lists_what_to_re_embed_next(upgraded: Upgraded) -> None:
    upgraded.upgrade()
    options = ("--limit", "2", "--order", "random", "--url", str(upgraded.client.base_url))
    done = run_command("galleries", "backfill", "shop", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == upgraded.backfill(limit=2, order="random")
