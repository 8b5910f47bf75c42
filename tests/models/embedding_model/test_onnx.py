"""A model written as ONNX computes what PyTorch computes, for any number of rows, from raw pixels and token ids."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tokenizers
import torch

from models.embedding_model import EmbeddingModel, NotExported, export_onnx, onnx
from models.inputs.preparing import prepare_batch
from models.portable import Distance
from tests.models.embedding_model.tiny import DIMENSION, inputs, model
from tests.worlds import Floats


def run(path: Path, trained: EmbeddingModel, rows: Iterable[int]) -> Floats:
    """The graph's vectors of some of the model's inputs."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batch = prepare_batch(inputs(trained), np.array(list(rows)), trained.preprocessing, augment=False, seed=0)
    vectors: Floats = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})[0]
    return vectors


@pytest.mark.parametrize("family", ["resnet", "convnext", "vit", "bert", "distilbert"])
def test_the_graph_gives_the_vectors_of_the_model(family: str, tmp_path: Path) -> None:
    trained, path = model(family), tmp_path / "model.onnx"
    assert export_onnx(trained, path) <= 1e-4
    expected = trained.embed(inputs(trained))
    for rows in (range(8), range(3), [5]):
        vectors = run(path, trained, rows)
        assert vectors.shape == (len(rows), DIMENSION)
        assert np.abs(vectors - expected[list(rows)]).max() <= 1e-4 * np.abs(expected).max()
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_graph_gives_vectors_as_they_are_indexed(metric: Distance, tmp_path: Path) -> None:
    trained = model(metric=metric)
    export_onnx(trained, tmp_path / "model.onnx")
    lengths = np.linalg.norm(run(tmp_path / "model.onnx", trained, range(8)), axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) == (metric == "cosine")


def test_texts_of_any_length_and_a_tokenizer_from_elsewhere_serve(tmp_path: Path) -> None:
    trained, path = model("bert"), tmp_path / "model.onnx"
    export_onnx(trained, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    text = "dogs on the mat"
    encoded = tokenizers.Tokenizer.from_str(trained.preprocessing.tokenizer or "").encode(text)
    given = {"input_ids": np.array([encoded.ids]), "attention_mask": np.array([encoded.attention_mask])}
    np.testing.assert_allclose(session.run(None, given)[0], trained.embed([text]), rtol=1e-3, atol=1e-5)


def test_a_graph_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter is given a model of other weights than the one that is checked."""
    other, write = model(seed=1), onnx._write
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the one before")

    def wrong(module: torch.nn.Module, *rest: object) -> None:
        write(onnx._Positional(other, ["pixels"]).eval(), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(onnx, "_write", wrong)
    with pytest.raises(NotExported, match="differs from PyTorch"):
        export_onnx(model(), path)
    assert path.read_bytes() == b"the one before"
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_a_path_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotExported, match="cannot be written"):
        export_onnx(model(), tmp_path / "no folder" / "model.onnx")
