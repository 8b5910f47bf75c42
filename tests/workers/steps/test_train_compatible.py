"""The step that trains: what it leaves, what it refuses before it has cost anything, and that it may be cut off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.artifacts.crossings import open_crossing
from app.settings import Settings
from models import embedding_model
from tests.e2e.user import problem
from tests.models.embedding_model.small_backbones import SETTINGS
from tests.workers.workshop import Workshop, workshop

QUICK: dict[str, Any] = {"epochs": 1, "image_size": 8}
TINY = {"type": "resnet", "stem": "small", "config": SETTINGS["resnet"]}
WIDE = {"id": "wide", "architecture": TINY, "dimension": 24}


def filled(shop: Workshop, many: int = 200) -> Workshop:
    """So many pictures in the gallery, the same to train on."""
    shop.put_items(range(many))
    shop.put_rows(shop.dataset, range(many), None)
    return shop


def weights(shop: Workshop, upgrade: str) -> bytes:
    (path,) = shop.artifacts(upgrade).model.glob("*.safetensors")
    return path.read_bytes()


def rows(shop: Workshop, upgrade: str) -> pa.Table:
    return pq.read_table(shop.artifacts(upgrade).rows)


def refused(shop: Workshop, **request: Any) -> str:
    """Why the first step of an upgrade fails. It has trained nothing."""
    upgrade = shop.train(training=QUICK | request.pop("training", {}), **request)
    assert shop.step() == "train_compatible"
    finished = shop.upgrade(upgrade)
    assert (finished["state"], finished["report"]) == ("failed", None)
    assert not shop.artifacts(upgrade).model.exists()
    problem(shop.client.get(f"/models/{shop.new}/artifact"), 409, "wrong-state")
    return str(finished["reason"])


def test_it_leaves_a_model_an_alignment_and_what_it_found_of_every_row(shop: Workshop) -> None:
    filled(shop)
    settings = {"epochs": 2, "learning_rate": 0.05, "seed": 7, "tokens": 12, "validation": 0.25}
    upgrade = shop.train(training=QUICK | settings, method="averaged", to={**WIDE, "id": shop.new})
    shop.step()
    finished = shop.upgrade(upgrade)
    assert finished["state"] == "evaluating"
    learned = finished["report"]["learned"]
    assert (learned["rows"] + learned["rows_held_out"], learned["classes"], learned["outliers"]) == (200, 10, None)
    assert (len(learned["epochs"]), learned["method"], learned["dimension"]) == (2, "averaged", 24)
    model = embedding_model.load(shop.artifacts(upgrade).model_zip)
    kept = {name: model.card.settings[name] for name in ("method", "epochs", "learning_rate", "seed", "batch")}
    assert kept == {"method": "averaged", "epochs": 2, "learning_rate": 0.05, "seed": 7, "batch": 64}
    trained_on = model.card.trained_on
    assert (trained_on.rows, trained_on.classes, trained_on.dataset) == (learned["rows"], 10, shop.dataset)
    old = shop.pictures.old[:5]
    spaces = (shop.crosswalk.models.space(model) for model in (shop.old, shop.new))
    alignment = open_crossing(shop.artifacts(upgrade), *spaces)
    for h in (alignment.chosen, alignment.plain):
        np.testing.assert_array_equal(h.apply(old), np.pad(old, ((0, 0), (0, 8))))
    table = rows(shop, upgrade)
    assert table.num_rows == learned["rows"]
    assert all(table[name].null_count == table.num_rows for name in ("outlier", "suspect_label", "old_model_poor"))


def test_rows_not_trained_on_are_in_no_list(shop: Workshop) -> None:
    shop.put_items(range(20), label=["of its own"] * 20)
    shop.put_rows(shop.dataset, range(300), shop.pictures.old[:300])
    upgrade = shop.train(training=QUICK, architecture=TINY, to={**WIDE, "id": shop.new})
    shop.step()
    table = rows(shop, upgrade)
    learned = shop.upgrade(upgrade)["report"]["learned"]
    assert (learned["classes"], learned["classes_held_out"]) == (8, 2)
    assert len(set(table["label"].to_pylist())) == 8
    assert table.num_rows == learned["rows"] < 300 * 0.9
    assert np.isclose(np.mean(table["outlier"].to_pylist()), 1, atol=1e-3)  # m·π is 1 on average


def test_a_class_without_a_direction_leaves_the_others_scores_alone(shop: Workshop) -> None:
    pictures = shop.pictures
    lost = pictures.codes[:300] == 3
    shop.put_items(range(20))
    shop.put_rows(shop.dataset, range(300), np.where(lost[:, None], np.float32(0), pictures.old[:300]))
    upgrade = shop.train(training=QUICK | {"epochs": 2}, instance_weights=True, to={**WIDE, "id": shop.new})
    shop.step()
    learned = shop.upgrade(upgrade)["report"]["learned"]
    assert learned["classes_without_column"] == 1
    table = rows(shop, upgrade)
    others = np.array(table["label"].to_pylist()) != "3"
    for name in ("suspect_label", "old_model_poor"):
        scores = np.array(table[name].to_pylist(), float)
        assert np.isfinite(scores[others]).all()
        assert len(set(scores[others].round(4))) > 50
    assert learned["instance_weights"]["suspect_labels"] > 0


def test_the_order_in_which_rows_came_does_not_matter(shop: Workshop, settings: Settings) -> None:
    filled(shop, 120)
    first = shop.train(training=QUICK)
    shop.step()
    other = settings.model_copy(update={"data_dir": settings.data_dir / "other"})
    with workshop(other) as backwards:
        backwards.put_items(range(120))
        for part in (range(119, 59, -1), range(60)):
            backwards.put_rows(backwards.dataset, part, None)
        second = backwards.train(training=QUICK)
        backwards.step()
        assert weights(backwards, second) == weights(shop, first)
        assert rows(backwards, second).equals(rows(shop, first))


def test_an_attempt_cut_off_at_the_very_end_is_repeated_to_the_same_model(shop: Workshop) -> None:
    filled(shop)
    upgrade = shop.train(training=QUICK | {"epochs": 2}, instance_weights=True)
    shop.step(cut_off=True)
    before, found = weights(shop, upgrade), rows(shop, upgrade)
    assert shop.upgrade(upgrade)["state"] == "training"
    problem(shop.client.get(f"/models/{shop.new}/artifact"), 409, "wrong-state")
    shop.put_rows(shop.dataset, range(100, 300), shop.pictures.old[100:300])  # too late to be learned from
    shop.step()
    assert shop.upgrade(upgrade)["state"] == "evaluating"
    assert (weights(shop, upgrade), rows(shop, upgrade).equals(found)) == (before, True)


def test_too_few_rows_are_refused_with_what_they_lack(shop: Workshop) -> None:
    shop.put_items(range(8))
    shop.put_rows(shop.dataset, range(20), None)
    reason = refused(shop)
    assert f"'{shop.dataset}' has 8 rows" in reason
    assert shop.gallery in reason
    assert "12 more lack a label or that vector" in reason


def test_one_label_is_refused(shop: Workshop) -> None:
    filled(shop)
    shop.put_rows(shop.dataset, range(200), None, label=["alike"] * 200)
    assert "200 rows of 1 labels" in refused(shop)


def test_labels_with_no_rows_to_spare_are_refused_unless_others_judge(shop: Workshop) -> None:
    pairs = [int(place) for code in range(10) for place in np.flatnonzero(shop.pictures.codes == code)[:2]]
    shop.put_items(range(200))
    shop.put_rows(shop.dataset, pairs, shop.pictures.old[pairs])
    reason = refused(shop)
    assert f"'{shop.dataset}' has 0 rows" in reason
    assert "`evaluation`" in reason
    shop.put_rows(shop.evaluation, pairs, None)
    reason = refused(shop, evaluation=shop.evaluation)
    assert f"'{shop.evaluation}' has 0 rows" in reason
    shop.put_rows(shop.evaluation, range(300, 420), shop.pictures.old[300:420])
    upgrade = shop.train(training=QUICK, evaluation=shop.evaluation)
    (proof,) = shop.ends(upgrade)["report"]["galleries"].values()
    assert proof["basis"]["queries"] == 120


def test_an_empty_gallery_is_refused_before_anything_is_trained(shop: Workshop) -> None:
    shop.put_rows(shop.dataset, range(100), shop.pictures.old[:100])
    body = {"strategy": "compatible", "to": {"id": shop.new, "architecture": "small-resnet"}, "dataset": shop.dataset}
    answer = shop.client.post(f"/models/{shop.old}/upgrade", json=body | {"galleries": [shop.gallery]})
    assert f"Gallery '{shop.gallery}' is empty" in problem(answer, 422, "validation-error")["detail"]


def test_old_vectors_without_a_direction_are_refused(shop: Workshop) -> None:
    shop.put_items(range(100))
    shop.put_rows(shop.dataset, range(100), np.zeros_like(shop.pictures.old[:100]))
    assert "all zero" in refused(shop)


def test_training_that_diverges_is_refused_with_what_to_change(shop: Workshop) -> None:
    filled(shop)
    reason = refused(shop, training={"epochs": 50, "learning_rate": 100.0, "schedule": "step"})
    assert "diverged" in reason
    assert "`learning_rate` than 100" in reason


@pytest.mark.parametrize("held_out", [False, True])
def test_a_broken_picture_is_named_whether_it_is_trained_on_or_held_out(shop: Workshop, held_out: bool) -> None:
    filled(shop, 100)
    first = shop.train(training=QUICK)
    shop.step()
    shop.post(f"/upgrades/{first}/cancel")
    trained_on = set(rows(shop, first)["id"].to_pylist())
    broken = next(place for place in range(100) if (shop.ids[place] not in trained_on) == held_out)
    shop.put_rows(shop.dataset, [broken], None, image=[shop.pictures.inputs[broken][:50]])
    reason = refused(shop)
    assert f"Row '{shop.ids[broken]}' of dataset '{shop.dataset}'" in reason
