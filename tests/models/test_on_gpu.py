"""What is learned and embedded on a GPU is what the processor learns and embeds, but for rounding and luck.

All of it is skipped without a GPU. What a step of training does in itself is tested elsewhere, on the processor.
"""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from models.compatible_training.instance_weights import InstanceWeightSettings
from models.compatible_training.pseudo_classifier import PSEUDO_METHODS, PseudoMethod, build_pseudo_classifier
from models.device import resolve
from models.transformations.methods import METHODS, NETWORKS, Recipe, learn
from models.transformations.selection import select
from models.uncertainty import learn_uncertainty
from tests.models.compatible_training import small as compatible
from tests.models.contrastive_training import small as contrastive
from tests.models.contrastive_training.test_contrastive_training import TEXTS
from tests.models.embedding_model.tiny import inputs, model
from tests.models.transformations.test_networks import curved, error, spaces
from tests.models.uncertainty import test_learning as uncertain
from tests.pictures import CLASSES, digits

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and PyTorch for CUDA")
CPU = torch.device("cpu")
ROUNDING = 1e-5
"""How far float32 vectors may lie apart, as a share of their length: rounded to TF32, convolutions are off by 1e-4."""


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def gpu() -> torch.device:
    return resolve("cuda")


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def epochs_kept(folder: Path) -> list[dict[str, Any]]:
    """The records of the epochs that the checkpoint there is of."""
    with safe_open(folder / "checkpoint.safetensors", framework="np") as file:
        epochs: list[dict[str, Any]] = json.loads(file.metadata()["record"])["epochs"]
    return epochs


@pytest.mark.parametrize("family", ["resnet", "convnext", "vit", "bert"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_model_gives_the_vectors_that_it_gives_on_the_processor(family: str, workers: int, gpu: torch.device) -> None:
    embedding = model(family, "l2")
    rows = inputs(embedding)
    here = embedding.embed(rows, device=CPU)
    there = embedding.embed(rows, device=gpu, batch=3, workers=workers)
    assert apart(there, here) < ROUNDING
    mixed = embedding.embed(rows, device=gpu, precision="auto")
    assert 0 < apart(mixed, here) < 0.05


@pytest.mark.parametrize("side", [0, 3])
@pytest.mark.parametrize("method", sorted(NETWORKS))
def test_networks_learn_as_well_as_on_the_processor(method: Any, side: int, gpu: torch.device) -> None:
    pairs, others, (source, target) = curved(1500, side=side), curved(500, side=side, seed=1), spaces(6, 5)
    recipe = Recipe(method, bool(side), {"epochs": 40})
    here, there = (error(learn(recipe, pairs, source, target, device=device), others) for device in (CPU, gpu))
    assert there < 1.2 * here
    again = learn(recipe, pairs, source, target, device=gpu)
    assert error(again, others) == pytest.approx(there, rel=0.05)


def test_every_method_is_chosen_among_and_labels_are_learned_from(gpu: torch.device) -> None:
    pairs, plain = uncertain.pairs(0, 2_000, side=4), uncertain.pairs(0, 2_000)
    chosen = select(plain, uncertain.OLD, uncertain.NEW, method="auto", device="cuda", budget_seconds=60)
    assert chosen.chosen.apply(plain.old).shape == plain.new.shape
    for method in METHODS:
        for labels in (False, True) if method != "orthogonal" else (False,):
            recipe = Recipe(method, True, {"epochs": 4} if method in NETWORKS else {})
            h = learn(recipe.with_labels() if labels else recipe, pairs, uncertain.OLD, uncertain.NEW, device=gpu)
            assert np.isfinite(h.apply(pairs.old, pairs.side)).all()


@pytest.mark.parametrize("labelled", [True, False])
def test_expected_errors_are_those_of_the_processor(labelled: bool) -> None:
    known = uncertain.pairs(0, labelled=labelled)
    transformed, h = uncertain.transformed_by(known, uncertain.learn), uncertain.learn(known)
    here, there = (learn_uncertainty(known, transformed, h, device=device) for device in ("cpu", "cuda"))
    expected, wanted = (each.uncertainty.expected_error(known.old, None, transformed) for each in (there, here))
    assert there.method == here.method
    np.testing.assert_allclose(expected, wanted, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("method", PSEUDO_METHODS)
def test_pseudo_classifiers_are_those_of_the_processor(method: PseudoMethod, gpu: torch.device) -> None:
    rows = digits(1200)
    build = partial(build_pseudo_classifier, method, rows.old, rows.codes, CLASSES, "l2")
    here, there = build(device=CPU), build(device=gpu)
    assert apart(there.columns, here.columns) < (0.02 if method == "trained" else ROUNDING)
    assert np.array_equal(there.usable, here.usable)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"instance_weights": InstanceWeightSettings(), "metric": "cosine"},
        {"patience": 2, "precision": "auto"},
        {"method": "l2", "workers": 2},
    ],
)
def test_a_compatible_model_learns_goes_on_after_an_interruption_and_runs_on_the_processor(
    given: dict[str, Any], tmp_path: Path, gpu: torch.device
) -> None:
    rows, held_out = digits(1200), digits(300, start=1200)
    given = {"epochs": 6, "device": gpu, **given}

    def killed_in_the_third_epoch(done: int, total: int) -> None:
        if done == 2 * total // 6 + 3:
            raise Killed

    with pytest.raises(Killed):
        compatible.trained(rows, tmp_path, held_out, progress=killed_in_the_third_epoch, **given)
    begun = epochs_kept(tmp_path)
    model = compatible.trained(rows, tmp_path, held_out, **given)
    assert [dataclasses.asdict(epoch) for epoch in model.epochs[:2]] == begun
    assert next(model.embedder.parameters()).device == CPU
    crosses = [epoch.cross for epoch in model.epochs if epoch.cross is not None]
    here = compatible.trained(rows, tmp_path / "here", held_out, **{**given, "device": CPU})
    known = [epoch.cross for epoch in here.epochs if epoch.cross is not None]
    assert max(crosses) > max(known) - 0.1
    assert (model.instance_weights is None) == ("instance_weights" not in given)


@pytest.mark.parametrize("texts", [False, True])
def test_an_encoder_learns_and_is_a_model_like_any_other(texts: bool, tmp_path: Path, gpu: torch.device) -> None:
    rows = TEXTS if texts else digits(1000).inputs
    learned = contrastive.trained(rows, tmp_path, epochs=4, device=gpu, precision="auto")
    assert learned.history[-1].loss < learned.history[0].loss
    encoder = learned.model("side", dataset="rows", version=1, created_at="2026-01-01")
    assert apart(encoder.embed(rows, device=gpu), encoder.embed(rows, device=CPU)) < ROUNDING
