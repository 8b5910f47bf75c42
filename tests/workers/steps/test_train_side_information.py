"""The step that trains an encoder of side-information: what it leaves, what it refuses, and that it may be cut off."""

from __future__ import annotations

from typing import Any

import numpy as np

from models import embedding_model
from models.embedding_model import EmbeddingModel
from tests.models.embedding_model.small_backbones import SETTINGS
from tests.workers.workshop import Workshop

TINY = {"type": "resnet", "stem": "small", "config": SETTINGS["resnet"]}
QUICK: dict[str, Any] = {"epochs": 2, "batch": 32, "image_size": 8, "workers": 0, "mirrored": False}


def start(shop: Workshop, **more: Any) -> str:
    body = {"id": shop.new, "dataset": shop.dataset, "architecture": TINY, "dimension": 12, "training": QUICK, **more}
    return str(shop.post(f"/models/{shop.old}/side-information", body, 202)["id"])


def shown(shop: Workshop) -> dict[str, Any]:
    """The encoder as its model lists it."""
    (found,) = shop.get(f"/models/{shop.old}/side-information")["items"]
    return dict(found)


def downloaded(shop: Workshop) -> EmbeddingModel:
    path = shop.settings.data_dir / "downloaded.zip"
    path.write_bytes(shop.client.get(f"/models/{shop.new}/artifact").content)
    return embedding_model.load(path)


def test_it_leaves_a_model_that_embeds_and_how_it_learned(shop: Workshop) -> None:
    shop.put_rows(shop.dataset, range(100), None)
    start(shop)
    assert shop.step() == "train_side_information"
    encoder = shown(shop)
    assert (encoder["state"], encoder["reason"], encoder["progress"]) == ("ready", None, None)
    learned = encoder["learned"]
    assert (learned["method"], learned["rows"], learned["dimension"], len(learned["epochs"])) == ("simclr", 95, 12, 2)
    assert learned["settings"]["batch"] == 32
    assert learned["metrics"].keys() == {"loss", "held_out_loss", "alignment", "uniformity"}
    model = downloaded(shop)
    assert (model.card.id, model.card.role, model.card.compatible_with) == (shop.new, "side_information", None)
    assert model.card.trained_on.dataset == shop.dataset
    vectors = model.embed(shop.pictures.inputs[:5])
    assert vectors.shape == (5, 12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    (run,) = shop.settings.artifacts_dir.iterdir()
    assert not (run / "training").exists()


def test_texts_are_told_apart_too(shop: Workshop) -> None:
    words = ["where", "is", "my", "parcel", "invoice", "bill", "today", "please"]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 5)) for _ in range(60)]
    shop.put_rows(shop.dataset, range(60), None, text=texts)
    config = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    architecture = {"type": "bert", "config": {**config, "vocab_size": 200, "max_position_embeddings": 32}}
    training = {"epochs": 1, "batch": 16, "tokens": 8, "workers": 0}
    start(shop, architecture=architecture, training=training)
    shop.step()
    assert shown(shop)["learned"]["method"] == "simcse"
    assert downloaded(shop).embed(texts[:3]).shape == (3, 12)


def test_an_attempt_cut_off_at_the_very_end_is_repeated_to_the_same_model(shop: Workshop) -> None:
    shop.put_rows(shop.dataset, range(60), None)
    start(shop)
    shop.step(cut_off=True)
    assert shop.get(f"/models/{shop.new}")["training"]["state"] == "training"
    (run,) = shop.settings.artifacts_dir.iterdir()
    before = {path.name for path in (run / "model").glob("*.safetensors")}  # named by content
    shop.put_rows(shop.dataset, range(60, 80), None)  # too late to be learned from
    shop.step()
    assert {path.name for path in (run / "model").glob("*.safetensors")} == before
    assert shown(shop)["learned"]["rows"] == 57


def test_a_failed_training_says_why_and_may_be_tried_anew(shop: Workshop) -> None:
    shop.put_rows(shop.dataset, range(3), None)
    start(shop)
    shop.step()
    training = shop.get(f"/models/{shop.new}")["training"]
    assert training["state"] == "failed"
    assert "3 rows are too few" in training["reason"]
    shop.put_rows(shop.dataset, range(60), None)
    start(shop)
    shop.step()
    assert shop.get(f"/models/{shop.new}")["training"] == {"state": "ready", "progress": None, "reason": None}
    assert len(list(shop.settings.artifacts_dir.glob("enc-*"))) == 1  # the failed run's files are gone


def test_a_broken_picture_is_named(shop: Workshop) -> None:
    shop.put_rows(shop.dataset, range(40), None)
    shop.put_rows(shop.dataset, [7], None, image=[shop.pictures.inputs[7][:50]])
    start(shop)
    shop.step()
    reason = shop.get(f"/models/{shop.new}")["training"]["reason"]
    assert f"Row '{shop.ids[7]}' of dataset '{shop.dataset}' cannot be trained on" in reason


def test_labels_play_no_part(shop: Workshop) -> None:
    weights = []
    for number, labels in enumerate((["one"] * 40, ["another", "third"] * 20)):
        shop.put_rows(shop.dataset, range(40), None, image=shop.pictures.inputs[:40], label=labels)
        start(shop, id=f"{shop.new}-{number}", training={**QUICK, "epochs": 1})
        shop.step()
        (path,) = (max(shop.settings.artifacts_dir.iterdir()) / "model").glob("*.safetensors")
        weights.append(path.name)  # names the content
    assert weights[0] == weights[1]
