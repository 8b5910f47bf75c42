import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.compatible_training import LabelledInputs, NotTrainable, Trained, with_signed_features
from models.compatible_training.instance_weights import InstanceWeightSettings, suspects
from models.compatible_training.validation import Validation, embed, validate
from models.embedding_model.backbones import build
from models.inputs import BadInput, Loader, Preprocessing, learn_tokenizer
from models.portable import Architecture
from tests.models.compatible_training.small import SMALL, trained
from tests.pictures import CLASSES, OLD, digits


class Killed(Exception):
    pass


def weights(model: Trained) -> dict[str, torch.Tensor]:
    return model.embedder.state_dict()


def measured(model: Trained, held_out: LabelledInputs) -> Validation:
    loader = Loader(held_out.inputs, Preprocessing.images(8))
    features = embed(model.embedder, loader, len(held_out), 32, torch.device("cpu"), None)
    return validate(features, held_out, "l2")


def assert_equal(one: Trained, other: Trained) -> None:
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name


def test_new_queries_find_their_class_among_old_vectors_better_than_old_queries_do(tmp_path: Path) -> None:
    held_out = digits(300, start=1200)
    model = trained(digits(1200), tmp_path, epochs=10)
    features = embed(
        model.embedder, Loader(held_out.inputs, Preprocessing.images(8)), 300, 300, torch.device("cpu"), None
    )
    assert validate(features, held_out, "l2").cross > validate(held_out.old, held_out, "l2").cross + 0.05


def test_a_model_tied_to_nothing_does_not(tmp_path: Path) -> None:
    model = trained(digits(600), tmp_path, digits(300, start=1200), method="none")
    assert model.epochs[-1].self is not None
    assert model.epochs[-1].self > 0.5
    assert model.epochs[-1].cross is not None
    assert model.epochs[-1].cross < 0.3


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"instance_weights": InstanceWeightSettings(), "schedule": "step", "metric": "cosine"},
        {"patience": 2, "precision": "mixed", "epochs": 4},
        {"method": "l2"},
    ],
)
def test_interrupted_training_goes_on_to_the_same_weights(given: dict[str, Any], tmp_path: Path) -> None:
    rows, held_out = digits(96), digits(40, start=1200)
    given = {"epochs": 3} | given
    undisturbed = trained(rows, tmp_path / "a", held_out, **given)

    def killed_in_the_third_epoch(done: int, total: int) -> None:
        if done == 7:
            raise Killed

    with pytest.raises(Killed):
        trained(rows, tmp_path / "b", held_out, progress=killed_in_the_third_epoch, **given)
    resumed = trained(rows, tmp_path / "b", held_out, **given)
    assert_equal(undisturbed, resumed)
    for one, other in zip(undisturbed.epochs, resumed.epochs, strict=True):
        assert dataclasses.replace(one, seconds=0) == dataclasses.replace(other, seconds=0)
    if undisturbed.instance_weights is not None:
        assert resumed.instance_weights is not None
        assert np.array_equal(undisturbed.instance_weights, resumed.instance_weights)


def test_other_rows_do_not_go_on_from_a_checkpoint_of_these(tmp_path: Path) -> None:
    fresh = trained(digits(64, start=500), tmp_path / "fresh", epochs=1)
    trained(digits(64), tmp_path / "used", epochs=1)
    assert_equal(fresh, trained(digits(64, start=500), tmp_path / "used", epochs=1))


def test_a_seed_decides_the_weights(tmp_path: Path) -> None:
    rows = digits(64)
    one, same, other = (trained(rows, tmp_path / str(n), epochs=1, seed=seed) for n, seed in enumerate((5, 5, 6)))
    assert_equal(one, same)
    assert any(not torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


def test_training_stops_when_the_cross_test_gets_no_better_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    held_out = digits(60, start=1200)
    model = trained(digits(64), tmp_path, held_out, epochs=40, patience=2, learning_rate=0.5)
    best = max(model.epochs, key=lambda epoch: (epoch.cross, -epoch.epoch))
    assert len(model.epochs) < 40
    assert model.best_epoch == best.epoch == len(model.epochs) - 2
    features = embed(
        model.embedder, Loader(held_out.inputs, Preprocessing.images(8)), 60, 32, torch.device("cpu"), None
    )
    assert validate(features, held_out, "l2").cross == best.cross


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    texts = [f"{'red' if place % 3 else 'blue'} thing number {place % 7}" for place in range(48)]
    rows = dataclasses.replace(digits(48), inputs=texts)
    config: dict[str, Any] = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    config |= {"vocab_size": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    given: dict[str, Any] = {
        "architecture": Architecture.from_json({"type": "bert", "config": config}),
        "preprocessing": Preprocessing.texts(learn_tokenizer(texts, 64), 8),
        "instance_weights": InstanceWeightSettings(warm_up=0),
        "batch": 16,
        "epochs": 2,
        "method": "averaged",
    }
    told: list[tuple[int, int]] = []
    alone = trained(rows, tmp_path / "one", **given)
    together = trained(rows, tmp_path / "two", processes=2, progress=lambda *step: told.append(step), **given)
    for name, tensor in weights(alone).items():
        assert torch.allclose(tensor, weights(together)[name], atol=1e-4), name
    assert alone.instance_weights is not None
    assert together.instance_weights is not None
    assert np.allclose(alone.instance_weights, together.instance_weights, atol=1e-3)
    assert told[-1] == (6, 6)


def test_wrong_labels_are_suspect(tmp_path: Path) -> None:
    rows = digits(1200, noise=0.3)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(rows)) < 0.4
    codes = np.where(wrong, (rows.codes + rng.integers(1, CLASSES, len(rows))) % CLASSES, rows.codes)
    model = trained(
        dataclasses.replace(rows, codes=codes), tmp_path, epochs=9, instance_weights=InstanceWeightSettings()
    )
    assert model.instance_weights is not None
    suspicion = suspects(model.instance_weights).suspect_label
    above = (suspicion[wrong][:, None] > suspicion[~wrong][None, :]).mean()
    assert above > 0.8


def test_a_class_without_an_old_direction_is_left_to_the_new_classifier_alone(tmp_path: Path) -> None:
    rows = digits(200)
    rows.old[rows.codes == 3] = 0
    model = trained(rows, tmp_path, epochs=1)
    assert model.pseudo is not None
    assert model.pseudo.usable.tolist() == [code != 3 for code in range(CLASSES)]
    assert np.isfinite(model.epochs[0].loss)


def test_fewer_dimensions_than_the_old_model_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotTrainable, match=f"at least the {OLD} dimensions"):
        trained(digits(32), tmp_path, dimension=OLD - 1)


def test_old_vectors_without_any_direction_are_refused(tmp_path: Path) -> None:
    rows = digits(32)
    rows.old[:] = 0
    with pytest.raises(NotTrainable, match="all zero"):
        trained(rows, tmp_path)


def test_a_picture_that_cannot_be_read_is_named_by_its_first_place(tmp_path: Path) -> None:
    rows = digits(32)
    broken = dataclasses.replace(rows, inputs=[*rows.inputs[:20], b"no picture", *rows.inputs[21:]])
    with pytest.raises(BadInput) as raised:
        trained(broken.take(np.arange(31, 9, -1)), tmp_path)
    assert raised.value.row == 20


def test_old_vectors_with_negative_parts_are_reached_through_a_projection() -> None:
    signed = digits(20).old
    assert with_signed_features(SMALL, signed).projection
    assert not with_signed_features(SMALL, np.abs(signed)).projection
    features = build(with_signed_features(SMALL, signed), SMALL.width)(
        {"pixels": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)}
    )
    assert (features < 0).any()
    assert not (build(SMALL)({"pixels": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)}) < 0).any()
