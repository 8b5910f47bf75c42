import dataclasses
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.contrastive_training import NotTrainable, TrainedEncoder, fingerprint
from models.embedding_model import load, save
from models.embedding_model.backbones import build
from models.inputs import BadInput, Inputs, InputSubset
from models.portable import Architecture
from tests.models.compatible_training.small import SMALL
from tests.models.contrastive_training.small import BERT, trained
from tests.pictures import CLASSES, digits

TEXTS = [
    f"the {colour} {thing} is {state}"
    for colour, thing, state in product(
        ("red", "blue", "green"), ("house", "car", "dog", "tree"), ("old", "new", "gone", "here", "mine")
    )
]


class Killed(Exception):
    pass


def vectors(encoder: TrainedEncoder, inputs: Inputs) -> np.ndarray:
    return encoder.model("side", dataset="photos", version=1, created_at="2026-01-01").embed(inputs)


def assert_equal(one: TrainedEncoder, other: TrainedEncoder) -> None:
    for name, tensor in one.embedder.state_dict().items():
        assert torch.equal(tensor, other.embedder.state_dict()[name]), name


def test_neighbours_share_their_label_more_often_than_before_training(tmp_path: Path) -> None:
    gallery, queries = digits(1000), digits(400, start=1200)

    def share(encoder: TrainedEncoder) -> float:
        nearest = (vectors(encoder, queries.inputs) @ vectors(encoder, gallery.inputs).T).argmax(1)
        return float((gallery.codes[nearest] == queries.codes).mean())

    encoder = trained(gallery.inputs, tmp_path, epochs=6)
    torch.manual_seed(0)
    before = dataclasses.replace(encoder, embedder=build(SMALL, 24).eval())
    assert share(before) > 1 / CLASSES
    assert share(encoder) > share(before) + 0.15


def test_texts_of_the_same_words_come_nearer_than_others(tmp_path: Path) -> None:
    """A text and its paraphrase differ in a filler word; others share no word but fillers."""
    encoder = trained(TEXTS, tmp_path, epochs=6, learning_rate=2e-3)
    places = np.arange(0, len(TEXTS), 7)
    texts = [TEXTS[place] for place in places]
    one, other = vectors(encoder, texts), vectors(encoder, [text.replace("the ", "is ") for text in texts])
    similar = one @ other.T
    assert (similar.argmax(1) == np.arange(len(texts))).mean() > 0.9
    apart = similar[~np.eye(len(texts), dtype=bool)].mean()
    torch.manual_seed(0)
    fresh = dataclasses.replace(encoder, embedder=build(encoder.architecture, 24).eval())
    assert np.diag(similar).mean() - apart > 2 * (1 - (vectors(fresh, texts) @ vectors(fresh, texts).T).mean())


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        (digits(96).inputs, {"batch": 32}),
        (digits(96).inputs, {"batch": 32, "patience": 1, "precision": "mixed", "head": None, "schedule": "one_cycle"}),
        (TEXTS, {"dropped_tokens": 0.2}),
    ],
)
def test_interrupted_training_goes_on_to_the_same_weights(
    inputs: Inputs, given: dict[str, Any], tmp_path: Path
) -> None:
    def killed_in_the_third_epoch(done: int, total: int) -> None:
        if done == total // 3 * 2 + 1:
            raise Killed

    undisturbed = trained(inputs, tmp_path / "a", **given)
    with pytest.raises(Killed):
        trained(inputs, tmp_path / "b", progress=killed_in_the_third_epoch, **given)
    resumed = trained(inputs, tmp_path / "b", **given)
    assert_equal(undisturbed, resumed)
    for one, other in zip(undisturbed.history, resumed.history, strict=True):
        assert dataclasses.replace(one, seconds=0) == dataclasses.replace(other, seconds=0)


def test_a_seed_decides_the_weights_and_other_inputs_begin_anew(tmp_path: Path) -> None:
    one, same, other = (trained(TEXTS, tmp_path / str(n), epochs=1, seed=seed) for n, seed in enumerate((5, 5, 6)))
    assert_equal(one, same)
    weights = one.embedder.state_dict()
    assert any(not torch.equal(tensor, weights[name]) for name, tensor in other.embedder.state_dict().items())
    fresh = trained(TEXTS[5:], tmp_path / "fresh", epochs=1, seed=5)
    assert_equal(fresh, trained(TEXTS[5:], tmp_path / "0", epochs=1, seed=5))


def test_training_stops_when_held_out_rows_get_no_better_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    encoder = trained(digits(80).inputs, tmp_path, epochs=30, patience=1, held_out=0.3, learning_rate=0.05)
    losses = [epoch.held_out_loss for epoch in encoder.history]
    assert None not in losses
    assert len(losses) < 30
    assert encoder.best_epoch == int(np.argmin(losses)) + 1 == len(losses) - 1  # type: ignore[arg-type]
    assert encoder.metrics["held_out_loss"] == losses[encoder.best_epoch - 1]


def test_without_held_out_rows_nothing_is_measured_on_them(tmp_path: Path) -> None:
    encoder = trained(TEXTS, tmp_path, epochs=1, held_out=0.0)
    assert encoder.rows == len(TEXTS)
    assert set(encoder.metrics) == {"loss"}


def test_the_encoder_is_a_model_like_any_other(tmp_path: Path) -> None:
    encoder = trained(TEXTS, tmp_path / "training", epochs=1)
    model = encoder.model("side", dataset="photos", version=3, created_at="2026-01-01T00:00:00Z")
    save(model, tmp_path / "model")
    read = load(tmp_path / "model")
    assert (read.card.role, read.card.compatible_with, read.card.method) == ("side_information", None, "simcse")
    assert read.card.trained_on.fingerprint == fingerprint(TEXTS)
    assert read.card.trained_on.rows == len(TEXTS) - round(0.05 * len(TEXTS))
    assert read.card.metrics == encoder.metrics
    np.testing.assert_array_equal(read.embed(TEXTS[:9]), model.embed(TEXTS[:9]))
    np.testing.assert_allclose(np.linalg.norm(read.embed(TEXTS[:9]), axis=1), 1, rtol=1e-5)


def test_a_fingerprint_is_of_the_rows_in_their_order() -> None:
    same = InputSubset(TEXTS, np.arange(len(TEXTS)))
    assert fingerprint(TEXTS) == fingerprint(same) != fingerprint(TEXTS[::-1])
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])


@pytest.mark.parametrize(
    ("inputs", "given", "message"),
    [
        (TEXTS[:3], {}, "3 rows are too few"),
        (TEXTS, {"batch": 2}, "`batch` of 2 is too small"),
        (TEXTS, {"temperature": 0.0}, "`temperature` 0 is to be above 0"),
        (TEXTS, {"held_out": 0.9}, "`held_out` 0.9 from 0 to 0.5"),
        (TEXTS, {"dropped_tokens": 1.0}, "`dropped_tokens` 1"),
        (TEXTS, {"dimension": 0}, "`dimension` 0"),
        (TEXTS, {"head": 0}, "`head` 0"),
        (TEXTS, {"architecture": SMALL}, "embeds images, not texts"),
        (TEXTS, {"learning_rate": 1e30, "epochs": 9}, "diverged"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_its_reason(
    inputs: Inputs, given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(NotTrainable, match=message):
        trained(inputs, tmp_path, **given)


def test_texts_without_dropout_have_no_views(tmp_path: Path) -> None:
    still = BERT | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    architecture = Architecture.from_json({"type": "bert", "config": still})
    with pytest.raises(NotTrainable, match="differ by dropout"):
        trained(TEXTS, tmp_path, architecture=architecture)
    assert trained(TEXTS, tmp_path, architecture=architecture, dropped_tokens=0.3, epochs=1).history


@pytest.mark.parametrize("bad", [b"no picture", None, "a text"])
def test_a_row_that_cannot_be_read_is_named(bad: Any, tmp_path: Path) -> None:
    inputs = [*digits(40).inputs]
    inputs[23] = bad
    with pytest.raises(BadInput) as raised:
        trained(inputs, tmp_path)
    assert raised.value.row == 23
