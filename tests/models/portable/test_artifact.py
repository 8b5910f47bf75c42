"""Artifacts survive the round trip and nothing else is taken for one."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.portable import (
    Affine,
    Card,
    CorruptArtifact,
    Dense,
    Kernel,
    Lengths,
    Network,
    Space,
    Transformation,
    WrongDirection,
    load_transformation,
    save_transformation,
)
from tests.waiting import PATIENCE_SECONDS

OLD, NEW = Space("old", 5, "cosine"), Space("new", 4, "l2")


def transformation(seed: int = 0) -> Transformation:
    rng = np.random.default_rng(seed)
    card = Card("fct", OLD, NEW, 2, 100, {"epochs": 3, "tied": True}, {"cmc@1": 0.5}, "2026-01-01T00:00:00Z")

    def dense(d_out: int, d_in: int) -> Dense:
        return Dense(
            rng.standard_normal((d_out, d_in)).astype(np.float32), rng.standard_normal(d_out).astype(np.float32)
        )

    network = Network((dense(6, 5),), (dense(3, 2), dense(3, 3)), (dense(8, 9), dense(4, 8)))
    affine = Affine(dense(4, 5).weight, dense(4, 5).bias, dense(4, 2).weight)
    kernel = Kernel(dense(3, 7).weight, dense(3, 4).weight, dense(2, 1).bias)
    return Transformation(card, affine, network, kernel)


def test_saved_transformation_loads_and_computes_the_same(tmp_path: Path) -> None:
    h = transformation()
    card = save_transformation(h, tmp_path / "artifact")
    back = load_transformation(tmp_path / "artifact", source=OLD, target=NEW)
    rng = np.random.default_rng(1)
    old, side = rng.standard_normal((9, 5)).astype(np.float32), rng.standard_normal((9, 2)).astype(np.float32)
    np.testing.assert_array_equal(back.apply(old, side), h.apply(old, side))
    assert back.card == card == dataclasses.replace(h.card, sha256=card.sha256)


def test_what_pushing_needs_to_know_is_saved_as_well(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    weight, slope = rng.standard_normal((4, 5)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    card = dataclasses.replace(transformation().card, side_dimension=None)
    affine = Affine(weight, np.ones(4, np.float32), None, Lengths(slope, 0.1, 1 / 3, -0.7))
    save_transformation(Transformation(card, affine), tmp_path)
    back = load_transformation(tmp_path, source=OLD, target=NEW)
    queries = rng.standard_normal((3, 4)).astype(np.float32)
    pushed, again = Transformation(card, affine).push(queries), back.push(queries)
    np.testing.assert_array_equal(again.queries, pushed.queries)
    np.testing.assert_array_equal(again.offset, pushed.offset)
    assert again.scale == pushed.scale == 0.1


def test_saving_is_deterministic_and_replaces_the_artifact_before(tmp_path: Path) -> None:
    first = save_transformation(transformation(0), tmp_path)
    second = save_transformation(transformation(1), tmp_path)
    assert save_transformation(transformation(1), tmp_path) == second != first
    assert len(list(tmp_path.iterdir())) == 2


def test_reversed_and_foreign_directions_are_refused(tmp_path: Path) -> None:
    save_transformation(transformation(), tmp_path)
    with pytest.raises(WrongDirection, match="cannot be reversed"):
        load_transformation(tmp_path, source=NEW, target=OLD)
    with pytest.raises(WrongDirection, match="other"):
        load_transformation(tmp_path, source=OLD, target=Space("other", 4, "l2"))
    with pytest.raises(WrongDirection):
        load_transformation(tmp_path, source=OLD, target=dataclasses.replace(NEW, metric="ip"))


def flip_last_byte(folder: Path) -> None:
    weights = next(folder.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))


def edit_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def test_every_kind_of_damage_is_recognised(tmp_path: Path) -> None:
    def cut(folder: Path) -> None:
        weights = next(folder.glob("*.safetensors"))
        weights.write_bytes(weights.read_bytes()[:-8])

    damages: dict[str, Callable[[Path], object]] = {
        "flip": flip_last_byte,
        "cut": cut,
        "no-weights": lambda folder: next(folder.glob("*.safetensors")).unlink(),
        "no-card": lambda folder: (folder / "card.json").unlink(),
        "not-json": lambda folder: (folder / "card.json").write_bytes(b"\xff\xfe{"),
        "not-an-object": lambda folder: (folder / "card.json").write_text("[]"),
        "unknown-field": lambda folder: edit_card(folder, colour="red"),
        "other-format": lambda folder: edit_card(folder, format=99),
        "other-direction": lambda folder: edit_card(folder, target=dataclasses.asdict(OLD)),
        "other-metrics": lambda folder: edit_card(folder, metrics={"cmc@1": 1.0}),
        "checksum-of-nothing": lambda folder: edit_card(folder, sha256=7),
    }
    for name, damage in damages.items():
        save_transformation(transformation(), tmp_path / name)
        damage(tmp_path / name)
        with pytest.raises(CorruptArtifact):
            load_transformation(tmp_path / name, source=OLD, target=NEW)


def test_applying_needs_neither_torch_nor_the_rest_of_the_learning_core() -> None:
    program = "import sys, models.portable; print('torch' in sys.modules, 'models.transformations' in sys.modules)"
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    assert answer.stdout.split() == ["False", "False"]
