"""Raw input to vectors, in order, as the space that the card names compares them."""

import numpy as np
import pytest
import torch

from models.embedding_model import EmbeddingModel
from models.inputs import BadInput
from models.portable import Distance
from tests.models.embedding_model.tiny import DIMENSION, IMAGES, inputs, model

METRICS: tuple[Distance, ...] = ("cosine", "l2", "ip")


@pytest.fixture(params=["resnet", "bert"])
def trained(request: pytest.FixtureRequest) -> EmbeddingModel:
    return model(request.param, "l2")


def test_rows_come_in_order_whatever_the_batches_and_processes(trained: EmbeddingModel) -> None:
    rows = inputs(trained)
    alone = np.concatenate([trained.embed([row]) for row in rows])  # type: ignore[arg-type]
    assert alone.shape == (len(rows), DIMENSION)
    assert alone.dtype == np.float32
    assert len(np.unique(alone, axis=0)) == len(rows)
    for batch, workers in ((3, 0), (8, 0), (100, 0), (3, 1)):
        embedded = trained.embed(rows, batch=batch, workers=workers)
        np.testing.assert_allclose(embedded, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_have_unit_length_under_cosine_and_their_own_otherwise(metric: Distance) -> None:
    raw, normalised = model(metric="l2").embed(IMAGES), model(metric=metric).embed(IMAGES)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.abs(lengths - 1).max() > 0.1
    np.testing.assert_allclose(normalised, raw / lengths if metric == "cosine" else raw, rtol=1e-5)


def test_embedding_twice_gives_the_same_bits_and_changes_nothing(trained: EmbeddingModel) -> None:
    trained.embedder.train()
    before = {name: tensor.clone() for name, tensor in trained.embedder.state_dict().items()}
    first, second = trained.embed(inputs(trained), batch=3), trained.embed(inputs(trained), batch=3)
    np.testing.assert_array_equal(first, second)
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.embedder.state_dict().items())


def test_mixed_precision_is_nearly_the_same_and_only_where_it_is_asked_for() -> None:
    trained = model(metric="l2")
    exact, mixed = trained.embed(IMAGES), trained.embed(IMAGES, precision="mixed")
    scale = np.abs(exact).max()
    assert 0 < np.abs(exact - mixed).max() < 0.05 * scale


def test_progress_counts_up_to_all() -> None:
    told: list[tuple[int, int]] = []
    model().embed(IMAGES, batch=3, progress=lambda done, total: told.append((done, total)))
    assert [total for _, total in told] == [8] * len(told)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (8, 8)


def test_nothing_gives_no_vectors() -> None:
    assert model().embed([]).shape == (0, DIMENSION)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_row_that_cannot_be_embedded_is_named(workers: int) -> None:
    with pytest.raises(BadInput) as refused:
        model().embed([*IMAGES, b"broken"], batch=4, workers=workers)
    assert refused.value.row == 8
