"""Expected errors are what the calibration says of the score, and artifacts of them are taken for nothing else."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.portable import (
    Calibration,
    Card,
    CorruptArtifact,
    Dense,
    Head,
    Nearest,
    Space,
    Uncertainty,
    WrongDirection,
    load_transformation,
    load_uncertainty,
    save_uncertainty,
)

OLD, NEW = Space("old", 5, "cosine"), Space("new", 4, "l2")
CARD = Card("fastfill", OLD, NEW, 2, 100, {"folds": 5}, {}, "2026-01-01T00:00:00Z")
CURVE = Calibration(np.array([-2.0, 0.0, 0.5, 3.0]), np.log([0.1, 0.5, 0.5, 2.0]))


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def scores() -> dict[str, Head | Nearest]:
    rng = np.random.default_rng(0)
    values = np.abs(floats(rng, 9)) + 0.1
    return {
        "head": Head(Dense(floats(rng, 1, 4), floats(rng, 1))),
        "nearest": Nearest("inputs", floats(rng, 9, 7), np.full(7, 0.5, np.float32)),
        "known-errors": Nearest("moved", floats(rng, 9, 4), np.ones(4, np.float32), values, 3),
    }


def items(n: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return floats(rng, n, 5), floats(rng, n, 2), floats(rng, n, 4)


@pytest.mark.parametrize("name", ["head", "nearest", "known-errors"])
def test_expected_error_is_the_score_read_off_the_calibration(name: str) -> None:
    score, (old, side, transformed) = scores()[name], items()
    errors = Uncertainty(CARD, score, CURVE).expected_error(old, side, transformed)
    for i in range(len(old)):
        p = old[i].astype(float) / np.linalg.norm(old[i].astype(float))
        if isinstance(score, Head):
            raw = float(score.layer.weight[0].astype(float) @ transformed[i] + score.layer.bias[0])
        else:
            row = np.concatenate([p, side[i]]) * 0.5 if score.reads == "inputs" else transformed[i].astype(float)
            squared = ((score.points.astype(float) - row) ** 2).sum(1)
            raw = np.log(squared.min() if score.values is None else score.values[np.argsort(squared)[:3]].mean())
        expected = np.exp(np.interp(raw, CURVE.at, CURVE.log_error) + 0.01 * np.clip((raw + 2) / 5, -2, 3))
        assert errors[i] == pytest.approx(expected, rel=1e-4)


def test_errors_are_positive_float32_and_keep_the_order_of_the_scores_where_the_calibration_is_level() -> None:
    raw = np.linspace(-6, 8, 500)
    errors = CURVE(raw)
    assert errors.dtype == np.float32
    assert errors.min() > 0
    assert (np.diff(errors) > 0).all()


def test_expected_errors_do_not_depend_on_how_many_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    old, side, transformed = items(40)
    for score in scores().values():
        u = Uncertainty(CARD, score, CURVE)
        whole = u.expected_error(old, side, transformed)
        monkeypatch.setattr("models.portable.uncertainty.CHUNK", 7)
        np.testing.assert_allclose(u.expected_error(old, side, transformed), whole, rtol=1e-5)
        monkeypatch.undo()
        assert u.expected_error(old[:0], side[:0], transformed[:0]).shape == (0,)


def test_wrong_dimensions_and_missing_or_unexpected_side_information_are_refused() -> None:
    old, side, transformed = items()
    u = Uncertainty(CARD, scores()["head"], CURVE)
    without = dataclasses.replace(u, card=dataclasses.replace(CARD, side_dimension=None))
    with pytest.raises(ValueError, match="missing"):
        u.expected_error(old, None, transformed)
    with pytest.raises(ValueError, match="not expected"):
        without.expected_error(old, side, transformed)
    for wrong in (
        (old[:, 1:], side, transformed),
        (old, side[:, 1:], transformed),
        (old, side, transformed[:, 1:]),
        (old, side, old),
    ):
        with pytest.raises(ValueError, match="must have shape"):
            u.expected_error(*wrong)
    for wrong in ((old[1:], side, transformed), (old, side[1:], transformed), (old, side, transformed[1:])):
        with pytest.raises(ValueError, match="old vectors and"):
            u.expected_error(*wrong)


def test_weights_that_do_not_fit_are_refused() -> None:
    nearest = scores()["known-errors"]
    assert isinstance(nearest, Nearest)
    assert nearest.values is not None
    wrong: dict[str, Head | Nearest] = {
        "wide": Head(Dense(np.ones((1, 5), np.float32), np.ones(1, np.float32))),
        "not-finite": Head(Dense(np.full((1, 4), np.nan, np.float32), np.ones(1, np.float32))),
        "no-points": dataclasses.replace(nearest, k=10),
        "negative": dataclasses.replace(nearest, values=-nearest.values),
        "other-rows": dataclasses.replace(nearest, values=nearest.values[1:]),
    }
    for score in wrong.values():
        with pytest.raises(ValueError, match=r"weights|points|positive"):
            Uncertainty(CARD, score, CURVE)
    for knots in (Calibration(CURVE.at[::-1].copy(), CURVE.log_error), Calibration(CURVE.at[:0], CURVE.at[:0])):
        with pytest.raises(ValueError, match="knots"):
            Uncertainty(CARD, nearest, knots)


def test_saved_uncertainty_loads_and_computes_the_same(tmp_path: Path) -> None:
    old, side, transformed = items()
    for name, score in scores().items():
        u = Uncertainty(CARD, score, CURVE)
        card = save_uncertainty(u, tmp_path / name)
        back = load_uncertainty(tmp_path / name, source=OLD, target=NEW)
        np.testing.assert_array_equal(
            back.expected_error(old, side, transformed), u.expected_error(old, side, transformed)
        )
        assert back.card == card == dataclasses.replace(CARD, sha256=card.sha256)
        assert len(list((tmp_path / name).iterdir())) == 2


def test_reversed_and_foreign_directions_are_refused(tmp_path: Path) -> None:
    save_uncertainty(Uncertainty(CARD, scores()["head"], CURVE), tmp_path)
    with pytest.raises(WrongDirection, match="cannot be reversed"):
        load_uncertainty(tmp_path, source=NEW, target=OLD)
    with pytest.raises(WrongDirection, match="other"):
        load_uncertainty(tmp_path, source=OLD, target=Space("other", 4, "l2"))


def test_damage_is_recognised_and_an_uncertainty_is_no_transformation(tmp_path: Path) -> None:
    def flip(folder: Path) -> None:
        weights = next(folder.glob("*.safetensors"))
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(bytes(content))

    def edit(folder: Path, **changes: object) -> None:
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps(card | changes))

    damages: dict[str, Callable[[Path], object]] = {
        "flip": flip,
        "no-weights": lambda folder: next(folder.glob("*.safetensors")).unlink(),
        "no-card": lambda folder: (folder / "card.json").unlink(),
        "other-direction": lambda folder: edit(folder, target=dataclasses.asdict(OLD)),
        "other-side": lambda folder: edit(folder, side_dimension=None),
    }
    for name, damage in damages.items():
        save_uncertainty(Uncertainty(CARD, scores()["nearest"], CURVE), tmp_path / name)
        damage(tmp_path / name)
        with pytest.raises(CorruptArtifact):
            load_uncertainty(tmp_path / name, source=OLD, target=NEW)
    save_uncertainty(Uncertainty(CARD, scores()["nearest"], CURVE), tmp_path / "sound")
    with pytest.raises(CorruptArtifact):
        load_transformation(tmp_path / "sound", source=OLD, target=NEW)
