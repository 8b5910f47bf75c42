import numpy as np
import pytest

from models.portable import Space, zero_padding
from models.proof.compatible import prove_compatible
from models.proof.gate import AcceptanceGate
from models.proof.inputs import PlacedPairs, ProofGallery
from models.proof.report import ProofReport
from models.transformations.pairs import Pairs

CLASSES, OLD, NEW = 20, 16, 24
SOURCE, TARGET = Space("old", OLD, "l2"), Space("new", NEW, "l2")
PADDING = zero_padding(SOURCE, TARGET, created_at="2026-01-01")

RNG = np.random.default_rng(0)
CENTRES, ELSEWHERE = RNG.normal(size=(2, CLASSES, OLD))
LABELS = np.array([f"class-{code:02d}" for code in range(CLASSES)], object)


def old_vectors(codes: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(len(codes), OLD))
    return np.asarray(CENTRES[codes] + 0.9 * noise, np.float32)


def new_vectors(codes: np.ndarray, seed: int, *, lost: frozenset[int] = frozenset()) -> np.ndarray:
    """Near their class's old centre, but elsewhere for the classes that the new model never saw."""
    rng = np.random.default_rng(seed)
    aimed = np.where(np.isin(codes, list(lost))[:, None], ELSEWHERE[codes], CENTRES[codes])
    noisy = aimed + 0.2 * rng.normal(size=aimed.shape)
    return np.concatenate([noisy, rng.normal(size=(len(codes), NEW - OLD))], 1).astype(np.float32)


GALLERY_CODES = np.repeat(np.arange(CLASSES), 40)
GALLERY = ProofGallery(old_vectors(GALLERY_CODES, 1), None, LABELS[GALLERY_CODES])


def prove(
    codes: np.ndarray, trained: np.ndarray, *, shuffled: bool = False, lost: frozenset[int] = frozenset()
) -> ProofReport:
    old, new = old_vectors(codes, 2), new_vectors(codes, 3, lost=lost)
    if shuffled:
        new = np.random.default_rng(4).permutation(new)
    rows = PlacedPairs(Pairs(old, new, None, LABELS[codes]), np.full(len(codes), -1))
    return prove_compatible(
        GALLERY, rows, PADDING, trained_labels=LABELS[trained], source=SOURCE, target=TARGET, gate=AcceptanceGate()
    )


EVERY = np.tile(np.arange(CLASSES), 10)


def test_a_model_that_lands_in_the_old_space_is_accepted_and_rewrites_nothing() -> None:
    report = prove(EVERY, np.arange(CLASSES))
    assert report.accepted
    (rung,) = [rung for rung in report.advice if rung.recommended]
    assert (rung.name, rung.vectors_rewritten, rung.items_to_re_embed) == ("compatible", 0, 0)
    assert {rung.name for rung in report.advice} == {"stay", "compatible", "re_embed"}
    assert report.metrics[0].difference.low > 0


def test_a_model_that_does_not_is_rejected() -> None:
    report = prove(EVERY, np.arange(CLASSES), shuffled=True)
    assert not report.accepted
    assert [rung.name for rung in report.advice if rung.recommended] == ["stay"]


def test_classes_that_were_never_trained_on_are_judged_by_classes_held_out_whole() -> None:
    lost = frozenset(range(8, CLASSES))  # trained on 0-7; 8-11 held out whole; 12-19 not in the dataset
    codes = EVERY[np.isin(EVERY, np.arange(12))]
    report = prove(codes, np.arange(8), lost=lost)
    strata = {stratum.name: stratum for stratum in report.strata}
    assert strata["covered"].share == pytest.approx(8 / CLASSES)
    assert strata["not covered"].share == pytest.approx(12 / CLASSES)
    assert strata["covered"].cross.mean > strata["covered"].old_old.mean
    assert strata["not covered"].cross.mean < strata["not covered"].old_old.mean
    assert not report.accepted
    assert "training rows" in report.reason


def test_without_such_classes_the_untrained_part_is_not_vouched_for() -> None:
    codes = EVERY[EVERY < 8]
    report = prove(codes, np.arange(8))
    assert not report.accepted
    assert "no pairs" in report.reason


def test_an_evaluation_set_is_taken_at_its_word() -> None:
    codes = np.tile(np.arange(CLASSES), 20)
    given = PlacedPairs(
        Pairs(old_vectors(codes, 5), new_vectors(codes, 6), None, LABELS[codes]), np.full(len(codes), -1)
    )
    one = np.arange(CLASSES)
    few = PlacedPairs(Pairs(old_vectors(one, 7), new_vectors(one, 8), None, LABELS), np.full(CLASSES, -1))
    report = prove_compatible(
        GALLERY, few, PADDING, trained_labels=LABELS, source=SOURCE, target=TARGET, evaluation=given
    )
    assert report.accepted
    assert [stratum.judged_on for stratum in report.strata] == ["evaluation set"]
