"""Models that were trained here, opened as embedders from the artifacts of what trained them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from app.artifacts.folder import TrainedModelFiles
from app.embedders.choice import TrainedHere
from app.embedders.configured import ConfiguredEmbedders
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.problems import EmbedderWrong
from app.settings import Settings
from app.storage.database import Database
from models import embedding_model
from tests.models.embedding_model.tiny import DIMENSION, IMAGES, TEXTS, model
from workers.embedders.opening import opened_embedder
from workers.embedders.trained_here import TrainedHereEmbedder

RUN = "upg-1"


def opened(family: str, folder: Path) -> TrainedHereEmbedder:
    embedding_model.save(model(family), folder)
    return TrainedHereEmbedder(RUN, folder, torch.device("cpu"))


def ask(embedder: TrainedHereEmbedder, inputs: Sequence[str], dimension: int = DIMENSION) -> EmbeddedBatch:
    return asyncio.run(embedder.embed(inputs, EmbedderCall(RUN, dimension, cosine=True)))


def test_texts_get_the_models_own_vectors_and_their_tokens_are_counted(tmp_path: Path) -> None:
    embedder = opened("bert", tmp_path)
    answer = ask(embedder, TEXTS)
    np.testing.assert_allclose(answer.vectors, model("bert").embed(TEXTS), atol=1e-5)
    one = ask(embedder, ["sat"]).tokens
    assert one is not None
    assert one >= len(["[CLS]", "sat", "[SEP]"])
    assert answer.tokens is not None
    assert answer.tokens > len(TEXTS) * 3
    assert not embedder.unreadable(TEXTS)


def test_images_come_as_base64_and_those_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    embedder = opened("resnet", tmp_path)
    given = [base64.b64encode(image).decode() for image in IMAGES]
    answer = ask(embedder, given)
    np.testing.assert_allclose(answer.vectors, model().embed(IMAGES), atol=1e-5)
    assert answer.tokens == 0
    cut = base64.b64encode(IMAGES[0][:40]).decode()
    assert embedder.unreadable([*given, cut, ""]) == {cut, ""}
    with pytest.raises(EmbedderWrong, match="upg-1 trained here cannot embed one of its inputs: not an image"):
        ask(embedder, [given[0], cut])


def test_another_dimension_and_damaged_weights_are_refused(tmp_path: Path) -> None:
    embedder = opened("resnet", tmp_path)
    with pytest.raises(EmbedderWrong, match="6 dimensions, and the model has 8"):
        ask(embedder, [base64.b64encode(IMAGES[0]).decode()], 8)
    (weights,) = tmp_path.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(EmbedderWrong, match="cannot be loaded"):
        TrainedHereEmbedder(RUN, tmp_path, torch.device("cpu"))


def test_a_model_trained_anew_is_not_answered_with_vectors_kept_of_the_former(
    settings: Settings, database: Database
) -> None:
    here = settings.model_copy(update={"device": "cpu"})
    found = []
    for seed, run in enumerate((RUN, "upg-2")):
        embedding_model.save(model("bert", seed=seed), TrainedModelFiles(here.artifacts_dir / run).model)
        how = ConfiguredEmbedders({}).of(TrainedHere(run=run, reads="text"), DIMENSION, "cosine")
        with opened_embedder(here, database, how, "document", subject=run, budget=None) as embedder:
            found.append(embedder.embed(TEXTS[:2]).vectors)
            np.testing.assert_allclose(found[-1], model("bert", seed=seed).embed(TEXTS[:2]), atol=1e-5)
    assert not np.allclose(found[0], found[1], atol=1e-2)
