"""What every kind of embedder does: a model in a folder, and the same model behind OpenAI's protocol."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from app.embedders.choice import EmbedderChoice
from app.embedders.configured import ModelEmbedder
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import LocalOptions, OpenAIOptions
from app.embedders.protocol import EmbeddedBatch, EmbedderCall, TextEmbedder
from app.problems import EmbedderWrong
from app.settings import Settings
from app.storage.database import Database
from tests.embedding_server import embedding_server
from workers.embedders.local_folder import LocalEmbedder
from workers.embedders.opening import opened_embedder

WORDS = ["[PAD]", "[UNK]", "a", "b", "lost", "parcel", "where", "is", "my"]
DIMENSION = 16
TEXTS = ["where is my parcel", "a", "lost lost lost lost lost lost", "ünknown 🙂 words"]
MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}

Open = Callable[[], TextEmbedder]


def folder_of(path: Path, pooling: dict[str, bool] | None = None, *, normalised: bool = True) -> Path:
    """A sentence-transformers folder of a BERT with random weights; without `pooling`, a Hugging Face one."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=DIMENSION,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(path)
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(path)
    if pooling is None:
        return path
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalised else [])]
    parts = [
        {"type": f"sentence_transformers.models.{kind}", "path": "" if kind == "Transformer" else kind}
        for kind in kinds
    ]
    (path / "modules.json").write_text(json.dumps(parts))
    (path / "Pooling").mkdir()
    (path / "Pooling" / "config.json").write_text(json.dumps(pooling))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("model"), MEAN)


def local(folder: Path) -> LocalEmbedder:
    return LocalEmbedder("here", LocalOptions(folder=folder), torch.device("cpu"))


def ask(open_embedder: Open, texts: Sequence[str], dimension: int = DIMENSION) -> EmbeddedBatch:
    async def asked() -> EmbeddedBatch:
        embedder = open_embedder()
        try:
            return await embedder.embed(texts, EmbedderCall("test-model", dimension))
        finally:
            await embedder.close()

    return asyncio.run(asked())


@pytest.fixture(scope="module", params=["local", "openai"])
def embedder(request: pytest.FixtureRequest, folder: Path) -> Iterator[Open]:
    if request.param == "local":
        yield lambda: local(folder)
        return
    with embedding_server(lambda text: ask(lambda: local(folder), [text]).vectors[0]) as server:
        yield lambda: OpenAIEmbedder("there", OpenAIOptions(url=f"{server.url}/v1"))


def test_each_text_has_one_finite_vector_in_their_order_and_tokens_are_counted(embedder: Open) -> None:
    answer = ask(embedder, TEXTS)
    assert answer.vectors.shape == (len(TEXTS), DIMENSION)
    assert answer.vectors.dtype == np.dtype(np.float32)
    assert np.isfinite(answer.vectors).all()
    assert answer.tokens is not None
    assert answer.tokens >= len(TEXTS)
    assert len(np.unique(answer.vectors.round(4), axis=0)) == len(TEXTS)


def test_a_text_has_the_same_vector_whatever_is_beside_it(embedder: Open) -> None:
    together = ask(embedder, TEXTS).vectors
    alone = np.concatenate([ask(embedder, [text]).vectors for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(ask(embedder, TEXTS[::-1]).vectors, together[::-1], atol=1e-5)


def test_another_dimension_than_the_models_is_refused(embedder: Open) -> None:
    with pytest.raises(EmbedderWrong, match="16 dimensions, and the model has 8"):
        ask(embedder, TEXTS, 8)


def test_a_folder_says_how_tokens_become_one_vector(tmp_path: Path) -> None:
    plain = ask(lambda: local(folder_of(tmp_path / "plain")), TEXTS[:1]).vectors[0]
    mean = ask(lambda: local(folder_of(tmp_path / "mean", MEAN, normalised=False)), TEXTS[:1]).vectors[0]
    np.testing.assert_allclose(mean, plain, atol=1e-6)
    unit = ask(lambda: local(folder_of(tmp_path / "unit", MEAN)), TEXTS[:1]).vectors[0]
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain), atol=1e-6)
    first = ask(lambda: local(folder_of(tmp_path / "cls", {"pooling_mode_cls_token": True})), TEXTS[:1]).vectors[0]
    assert not np.allclose(first, unit, atol=1e-3)


@pytest.mark.parametrize(
    ("pooling", "said"),
    [({"pooling_mode_weightedmean_tokens": True}, "is not taken"), (None, "holds no model")],
)
def test_a_folder_that_is_no_such_model_is_refused_by_name(
    tmp_path: Path, pooling: dict[str, bool] | None, said: str
) -> None:
    path = tmp_path / "empty"
    path.mkdir()
    if pooling is not None:
        folder_of(path, pooling)
    with pytest.raises(EmbedderWrong, match=said):
        local(path)


def test_a_folder_whose_weights_are_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    weights = folder_of(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(EmbedderWrong, match="holds no model"):
        local(tmp_path)


def test_what_is_longer_than_a_model_takes_is_cut(folder: Path) -> None:
    assert ask(lambda: local(folder), ["lost " * 500]).tokens == 32


def test_what_is_longer_than_roberta_takes_is_cut_where_its_positions_end(tmp_path: Path) -> None:
    path = folder_of(tmp_path)
    config = RobertaConfig(
        vocab_size=len(WORDS),
        hidden_size=DIMENSION,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,  # of which a token has none of the first two
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(path)
    assert ask(lambda: local(path), ["lost " * 500]).tokens == 32


def test_what_a_folder_says_of_its_texts_is_read_beside_its_transformer(tmp_path: Path) -> None:
    path = folder_of(tmp_path, MEAN)
    inner = path / "0_Transformer"
    folder_of(inner)
    parts = json.loads((path / "modules.json").read_text())
    parts[0]["path"] = inner.name
    (path / "modules.json").write_text(json.dumps(parts))
    (inner / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 7, "do_lower_case": True}))
    answer = ask(lambda: local(path), ["LOST " * 500, "lost " * 500])
    assert answer.tokens == 14
    np.testing.assert_allclose(answer.vectors[0], answer.vectors[1], atol=1e-6)


def test_a_model_is_loaded_once_for_all_that_one_piece_of_work_embeds(
    tmp_path: Path, settings: Settings, database: Database
) -> None:
    path = folder_of(tmp_path / "model", MEAN)
    options = LocalOptions(folder=path)
    how = ModelEmbedder("here", options, EmbedderChoice(connection="here"), EmbedderCall("here", DIMENSION))
    here = settings.model_copy(update={"device": "cpu"})
    with opened_embedder(here, database, how, "document", subject="bf-1", budget=None) as embedder:
        assert embedder.embed(TEXTS[:1]).has.all()
        shutil.rmtree(path)
        assert embedder.embed(TEXTS[1:]).has.all()
