"""The step that proves a trained model: on which rows, on every gallery, and what becomes of what training kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq

from app.artifacts.charts import chart_key, open_drawings
from app.upgrades.report_page import charts_of
from tests.workers.workshop import Workshop

GOOD: dict[str, Any] = {"epochs": 8, "image_size": 8, "batch": 32}
QUICK = GOOD | {"epochs": 1}
LENIENT = {"metric": "cmc@1", "require": {"at_least": 0.0}}


def test_rows_trained_on_do_not_judge_under_the_same_id(shop: Workshop) -> None:
    shop.put_items(range(200))
    shop.put_rows(shop.dataset, range(300), shop.pictures.old[:300])
    shop.put_rows(shop.evaluation, range(250, 400), shop.pictures.old[250:400])
    upgrade = shop.train(training=QUICK, evaluation=shop.evaluation)
    (proof,) = shop.ends(upgrade)["report"]["galleries"].values()
    trained_on = set(pq.read_table(shop.artifacts(upgrade).rows)["id"].to_pylist())
    fresh = [place for place in range(250, 400) if shop.ids[place] not in trained_on]
    assert 100 < len(fresh) < 150
    assert [(part["judged_on"], part["queries"]) for part in proof["strata"]] == [("evaluation set", len(fresh))]


def test_where_the_old_model_embeds_queries_apart_the_figures_are_provisional(shop: Workshop) -> None:
    shop.old = "apart"
    shop.post(
        "/models", {"id": "apart", "dimension": shop.pictures.old.shape[1], "metric": "l2", "queries": "apart"}, 201
    )
    shop = shop.with_gallery("of-apart")
    shop.put_items(range(200))
    shop.put_rows(shop.dataset, range(200), None)
    finished = shop.ends(shop.train(training=QUICK, gate=LENIENT, dry_run=True))
    (proof,) = finished["report"]["galleries"].values()
    assert proof["provisional"] is True
    assert "POST /evaluations" in proof["provisional_reason"]
    assert proof["provisional_reason"] in finished["reason"]


def test_labels_that_the_gallery_holds_none_of_can_judge_nothing_and_it_says_so(shop: Workshop) -> None:
    shop.put_items(range(200), label=[f"of its own {place % 3}" for place in range(200)])
    shop.put_rows(shop.dataset, range(300, 500), shop.pictures.old[300:500])
    finished = shop.ends(shop.train(training=QUICK))
    assert finished["state"] == "failed"
    assert shop.gallery in finished["reason"]
    assert "labels that the gallery holds" in finished["reason"]


def test_one_gallery_that_loses_rejects_the_upgrade_of_all(shop: Workshop) -> None:
    other = shop.with_gallery("shuffled")
    places = range(400)
    shop.put_items(places)
    labels = np.random.default_rng(0).permutation(shop.pictures.codes[:400])
    other.put_items(places, label=[str(code) for code in labels])
    shop.put_rows(shop.dataset, range(600, 1200), shop.pictures.old[600:1200])
    gate = {"metric": "cmc@1", "require": {"at_least": 0.15}}
    finished = shop.ends(shop.train(training=GOOD, galleries=[shop.gallery, other.gallery], gate=gate))
    verdicts = {name: proof["accepted"] for name, proof in finished["report"]["galleries"].items()}
    assert verdicts == {shop.gallery: True, other.gallery: False}
    assert finished["state"] == "rejected"
    assert finished["reason"] == finished["report"]["galleries"][other.gallery]["reason"]
    assert shop.get(f"/models/{shop.new}")["compatible_with"] is None


def test_what_training_kept_on_disk_goes_with_the_proof_and_the_model_stays(shop: Workshop) -> None:
    shop.put_items(range(200))
    shop.put_rows(shop.dataset, range(200), None)
    upgrade = shop.train(training=QUICK, gate=LENIENT)
    shop.step()
    folder = shop.artifacts(upgrade).folder
    assert (folder / "training").is_dir()
    shop.step(cut_off=True)
    assert (folder / "training").is_dir()
    ended = shop.ends(upgrade)
    assert ended["state"] == "active"
    kept = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert kept == ["charts.json", "chosen", "model", "model.zip", "plain", "rows.parquet"]
    drawings = open_drawings(shop.artifacts(upgrade).charts)
    assert list(drawings) == [chart_key(chart) for chart in charts_of(ended["report"])], "what the page will ask for"


def test_a_dry_run_only_reports_and_an_activation_by_hand_waits(shop: Workshop) -> None:
    shop.put_items(range(200))
    shop.put_rows(shop.dataset, range(200), None)
    dry = shop.ends(shop.train(training=QUICK, gate=LENIENT, dry_run=True))
    assert dry["state"] == "evaluated"
    assert dry["reason"]
    assert shop.get(f"/models/{shop.new}")["compatible_with"] is None
    waiting = shop.ends(shop.train(training=QUICK, gate=LENIENT, activate="manually"))
    assert waiting["state"] == "ready"
    assert shop.get(f"/models/{shop.new}")["compatible_with"] == shop.old
