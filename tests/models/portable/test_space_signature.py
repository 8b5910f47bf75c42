"""What a model's signature says of batches: of its own, of other models', and of what nothing can be said of."""

import numpy as np
import pytest

from models.portable import SpaceJudgement, SpaceSignature, SpaceSketch
from models.portable.space_signature import SpaceScale, signature_of_directions
from tests.spaces import DIMENSION, made_model

OURS, THEIRS = 1, 2


@pytest.fixture(scope="module")
def signatures() -> dict[str, SpaceSignature]:
    return {"ours": _signed(made_model(OURS, 4_000)), "theirs": _signed(made_model(THEIRS, 4_000))}


def _signed(vectors: np.ndarray) -> SpaceSignature:
    signature = SpaceSignature.of(SpaceSketch.of(vectors))
    assert signature is not None
    return signature


def _judged(signatures: dict[str, SpaceSignature], vectors: np.ndarray) -> SpaceJudgement:
    judgement = signatures["ours"].judge(vectors, {"theirs": signatures["theirs"]})
    assert judgement is not None
    return judgement


def test_another_models_vectors_are_foreign_and_their_model_is_named(signatures: dict[str, SpaceSignature]) -> None:
    for batch in range(20):
        judgement = _judged(signatures, made_model(THEIRS, 64, of=batch + 1))
        assert judgement.foreign
        assert judgement.likely == "theirs"
        assert judgement.position > 0.8


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_vectors_of_a_model_that_nobody_registered_are_foreign_and_nobody_is_named(
    signatures: dict[str, SpaceSignature], seed: int
) -> None:
    judgement = _judged(signatures, made_model(seed, 256, of=1))
    assert judgement.foreign
    assert judgement.likely is None


def test_own_vectors_are_not_foreign_not_even_of_one_topic(signatures: dict[str, SpaceSignature]) -> None:
    for topic in [None, *range(20)]:
        assert not _judged(signatures, made_model(OURS, 64, of=9, topic=topic)).foreign


def test_a_topic_that_was_never_seen_is_not_foreign(signatures: dict[str, SpaceSignature]) -> None:
    seen = np.concatenate([made_model(OURS, 200, of=topic, topic=topic) for topic in range(10)])
    own = _signed(seen)
    for topic in range(10, 20):
        judgement = own.judge(made_model(OURS, 64, of=9, topic=topic), {"theirs": signatures["theirs"]})
        assert judgement is not None
        assert not judgement.foreign


def test_rotated_permuted_and_flipped_vectors_are_foreign(signatures: dict[str, SpaceSignature]) -> None:
    own, rng = made_model(OURS, 256, of=9), np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))
    signs = rng.choice([-1, 1], DIMENSION).astype(np.float32)
    for disguised in (own @ rotation.astype(np.float32), own[:, rng.permutation(DIMENSION)], own * signs):
        assert _judged(signatures, disguised).foreign


def test_the_same_model_registered_twice_claims_nothing_of_itself(signatures: dict[str, SpaceSignature]) -> None:
    narrow = _signed(np.concatenate([made_model(OURS, 400, of=topic, topic=topic) for topic in range(3)]))
    judgement = narrow.judge(made_model(OURS, 64, of=9, topic=12), {"twin": signatures["ours"]})
    assert judgement is not None
    assert judgement.likely is None


def test_lengths_do_not_make_a_stranger_but_are_told(signatures: dict[str, SpaceSignature]) -> None:
    judgement = _judged(signatures, made_model(OURS, 64, of=9) * np.float32(7))
    assert judgement.scaled
    assert not judgement.foreign
    assert not _judged(signatures, made_model(OURS, 64, of=9)).scaled


@pytest.mark.parametrize("rows", [1, 16, 63])
def test_few_vectors_are_not_judged(signatures: dict[str, SpaceSignature], rows: int) -> None:
    assert signatures["ours"].judge(made_model(THEIRS, rows), {}) is None


def test_copies_and_zeros_are_no_evidence(signatures: dict[str, SpaceSignature]) -> None:
    few = made_model(THEIRS, 20)
    copies = np.concatenate([np.tile(few, (30, 1)), np.zeros((50, DIMENSION), np.float32)])
    noise = np.random.default_rng(0).standard_normal(copies.shape).astype(np.float32)
    assert signatures["ours"].judge(copies + 1e-4 * noise * (copies != 0), {}) is None


def test_a_model_is_unknown_until_a_thousand_vectors_of_some_dimensions_were_seen() -> None:
    assert SpaceSignature.of(SpaceSketch.of(made_model(OURS, 999))) is None
    toys = np.random.default_rng(0).standard_normal((5_000, 3)).astype(np.float32)
    assert SpaceSignature.of(SpaceSketch.of(toys)) is None
    assert SpaceSignature.of(SpaceSketch.empty(384)) is None
    assert SpaceSignature.of(SpaceSketch.of(np.eye(64, dtype=np.float32)[np.arange(3_000) % 64])) is None


def test_a_space_without_a_shape_calls_nothing_foreign() -> None:
    noise = np.random.default_rng(0).standard_normal((3_000, 64)).astype(np.float32)
    signature = _signed(noise)
    assert signature.blind
    judgement = signature.judge(made_model(THEIRS, 256, dimension=64), {})
    assert judgement is not None
    assert not judgement.foreign


@pytest.mark.parametrize("rows", [40, 300])
def test_scores_are_mahalanobis_distances_of_the_shrunk_covariance(rows: int) -> None:
    learnt, judged = made_model(OURS, rows, dimension=48), made_model(THEIRS, 5, dimension=48)
    scale = SpaceScale.of(learnt, learnt[:10])
    wide = learnt.astype(np.float64)
    covariance = np.cov(wide.T, bias=True)
    shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / 48 * np.eye(48)
    for vector, score in zip(judged.astype(np.float64), scale.ellipsoid.scores(judged), strict=True):
        off = vector - wide.mean(axis=0)
        assert score == pytest.approx(np.log(off @ np.linalg.solve(shrunk, off) / 48), abs=1e-3)


def test_dimensions_that_are_always_zero_make_no_difference() -> None:
    dead = np.zeros((3_000, DIMENSION + 4), np.float32)
    dead[:, :DIMENSION] = made_model(OURS, 3_000)
    faint = dead.copy()
    faint[:, DIMENSION:] = 1e-33
    signature = signature_of_directions(dead)
    judgement = signature.judge(faint[:200], {})
    assert judgement is not None
    assert judgement.position < 0.3
