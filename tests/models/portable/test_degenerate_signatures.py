"""What signatures say of spaces that real models have: dimensions that tell nothing and the unit change no verdict, and
a space in which nothing differs calls nobody a stranger."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.portable import SpaceJudgement, SpaceSignature, SpaceSketch
from tests.models.degenerate import COLLAPSES, collapsed
from tests.spaces import made_model

OURS, THEIRS = 1, 2
LEARNED, FRESH, FOREIGN = made_model(OURS, 2_000), made_model(OURS, 120, of=9), made_model(THEIRS, 120, of=3)
NEARLY_DEAD = st.sampled_from([0.0, 1e-38, 1e-33, 1e-20, 1e-9])
UNITS = st.sampled_from([1e-30, 1e-20, 1.0, 1e10, 1e17])


def with_noise(vectors: np.ndarray, scale: float, unit: float) -> np.ndarray:
    """With three dimensions more of noise of this scale, everything then multiplied by `unit`: float32."""
    noise = scale * np.random.default_rng(len(vectors)).standard_normal((len(vectors), 3))
    return np.asarray(np.concatenate([vectors, noise], axis=1) * unit, np.float32)


def signed(vectors: np.ndarray) -> SpaceSignature:
    signature = SpaceSignature.of(SpaceSketch.of(np.asarray(vectors, np.float32)))
    assert signature is not None
    return signature


def judged(signature: SpaceSignature, vectors: np.ndarray) -> SpaceJudgement | None:
    judgement = signature.judge(np.asarray(vectors, np.float32), {})
    assert judgement is None or np.isfinite(judgement.position)
    assert np.isfinite(signature.row_positions(np.asarray(vectors, np.float32))).all()
    return judgement


@given(dead=NEARLY_DEAD, unit=UNITS)
@settings(max_examples=12)
def test_dead_dimensions_and_units_make_nobody_a_stranger_and_hide_none(dead: float, unit: float) -> None:
    signature = signed(with_noise(LEARNED, dead, unit))
    own, strangers = (judged(signature, with_noise(each, dead, unit)) for each in (FRESH, FOREIGN))
    assert own is not None
    assert strangers is not None
    assert (own.foreign, own.scaled) == (False, False)
    assert (strangers.foreign, strangers.scaled) == (True, False)
    assert judged(signature, with_noise(FRESH, dead, 3 * unit)) is not None
    assert abs(own.position) < 0.1


@pytest.mark.parametrize("offset", [1.0, 30.0, 300.0, 1000.0])
def test_in_a_narrow_space_strangers_are_told_and_copies_are_no_evidence(offset: float) -> None:
    """Of vectors with every cosine near 1, in float32, whose rounding is as large as what tells them apart."""
    signature = signed(LEARNED + np.float32(offset))
    own, strangers = judged(signature, FRESH + np.float32(offset)), judged(signature, FOREIGN)
    assert own is not None
    assert not own.foreign
    assert strangers is not None
    assert strangers.foreign
    few = np.repeat(FRESH[:20] + np.float32(offset), 20, axis=0)
    assert judged(signature, few) is None
    assert judged(signature, np.repeat(FOREIGN[:20], 20, axis=0)) is None


@pytest.mark.parametrize("how", COLLAPSES)
@pytest.mark.filterwarnings("error")
def test_own_vectors_of_a_space_that_has_collapsed_are_never_foreign(how: str) -> None:
    """Lengths tell the vectors of one direction apart, and so there may be enough of them for a signature."""
    lengths = np.linspace(1, 2, len(LEARNED))[:, None]
    sketch = SpaceSketch.of(np.asarray(collapsed(LEARNED, how) * lengths, np.float32))
    signature = SpaceSignature.of(sketch)
    if signature is None:
        assert how in ("all zero", "rows thrice"), "too few distinct vectors"
        return
    judgement = judged(signature, collapsed(FRESH, how))
    assert judgement is None or not judgement.foreign


@pytest.mark.parametrize("how", ["one direction", "all the same", "a huge dimension"])
def test_a_space_in_which_nothing_differs_calls_nobody_a_stranger(how: str) -> None:
    signature = signed(collapsed(LEARNED, how) * np.linspace(1, 2, len(LEARNED))[:, None])
    assert signature.blind
    judgement = judged(signature, FOREIGN)
    assert judgement is not None
    assert not judgement.foreign


def test_one_row_is_judged_by_nobody() -> None:
    assert SpaceSignature.of(SpaceSketch.of(LEARNED[:1])) is None
    signature = signed(LEARNED)
    assert judged(signature, FOREIGN[:1]) is None
    assert judged(signature, np.repeat(FOREIGN[:1], 500, axis=0)) is None
    assert np.isfinite(signature.position_of(FOREIGN[:1], {}).position)
