"""Scores are translated along curves that go one way, and what was not seen is said to be none of what was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.portable import (
    Card,
    CorruptArtifact,
    ScoreCurve,
    ScoreTranslation,
    ScoreTranslations,
    Space,
    WrongDirection,
    load_score_translations,
    save_score_translations,
)

OLD, NEW = Space("old", 3, "cosine"), Space("new", 4, "l2")


def curve(at: list[float], value: list[float], spread: float = 0.25) -> ScoreCurve:
    knots, values = np.array(at), np.array(value)
    return ScoreCurve(knots, values, values - spread, values + spread, error=0.125)


RISING, FALLING = curve([0.0, 0.5, 1.0], [0.0, 0.2, 1.0]), curve([0.0, 1.0], [3.0, 1.0])
CARD = Card("equipercentile", OLD, NEW, None, 400, {}, {}, "2026-01-01T00:00:00Z")
TRANSLATIONS = ScoreTranslations(CARD, {"transformed": ScoreTranslation(FALLING, curve([1.0, 3.0], [1.0, 0.0]))})


def test_between_knots_the_curve_and_its_interval_are_straight() -> None:
    translated = RISING([0.25, 0.75])
    np.testing.assert_allclose(translated.value, [0.1, 0.6])
    np.testing.assert_allclose(translated.low, [-0.15, 0.35])
    np.testing.assert_allclose(translated.high, [0.35, 0.85])
    assert not translated.extrapolated.any()


def test_a_distance_falls_as_a_similarity_rises() -> None:
    np.testing.assert_allclose(FALLING([0.25, 0.75]).value, [2.5, 1.5])


def test_what_lies_outside_the_range_that_was_seen_counts_as_its_end_and_says_so() -> None:
    translated = RISING([-1.0, 0.0, 1.0, 2.0])
    np.testing.assert_allclose(translated.value, [0.0, 0.0, 1.0, 1.0])
    assert translated.extrapolated.tolist() == [True, False, False, True]
    assert RISING.seen == (0.0, 1.0)


def test_a_curve_that_turns_back_or_is_not_whole_is_refused() -> None:
    for at, value in (
        ([0.0, 1.0, 2.0], [0.0, 2.0, 1.0]),
        ([1.0, 0.0], [0.0, 1.0]),
        ([0.0, 1.0], [0.0, np.nan]),
        ([], []),
    ):
        with pytest.raises(ValueError, match=r"one way|finite"):
            curve(at, value)
    with pytest.raises(ValueError, match="equally many"):
        dataclasses.replace(RISING, low=np.zeros(2))


def test_what_was_saved_is_read_to_the_bit_and_for_no_other_spaces(tmp_path: Path) -> None:
    save_score_translations(TRANSLATIONS, tmp_path)
    loaded = load_score_translations(tmp_path, source=OLD, target=NEW).by_route
    assert loaded.keys() == {"transformed"}
    for name in ("to_new", "to_old"):
        kept, written = getattr(loaded["transformed"], name), getattr(TRANSLATIONS.by_route["transformed"], name)
        assert kept.error == written.error
        for part in ("at", "value", "low", "high"):
            np.testing.assert_array_equal(getattr(kept, part), getattr(written, part))
    with pytest.raises(WrongDirection):
        load_score_translations(tmp_path, source=NEW, target=OLD)


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    save_score_translations(TRANSLATIONS, tmp_path)
    (weights,) = tmp_path.glob("weights-*")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(CorruptArtifact):
        load_score_translations(tmp_path, source=OLD, target=NEW)
