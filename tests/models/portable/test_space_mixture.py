"""A heap of two models' vectors is split; a heap of one model's is not, however its topics lie."""

import numpy as np
import pytest

from models.portable import find_mixture
from tests.spaces import made_model


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_vectors_of_another_model_are_found_among_the_others(share: float) -> None:
    foreign = int(2_000 * share)
    vectors = np.concatenate([made_model(1, 2_000 - foreign), made_model(2, foreign, of=1)])
    order = np.random.default_rng(0).permutation(2_000)
    truth = (np.arange(2_000) >= 2_000 - foreign)[order]
    mixture = find_mixture(vectors[order])
    assert mixture is not None
    assert mixture.position > 0.85
    found = mixture.foreign
    assert (found & truth).sum() >= 0.8 * foreign
    assert (found & truth).sum() >= 0.8 * found.sum()


@pytest.mark.parametrize("topics", [2, 4, 20])
def test_topics_are_no_mixture(topics: int) -> None:
    vectors = np.concatenate([made_model(1, 2_000 // topics, of=topic, topic=topic) for topic in range(topics)])
    assert find_mixture(np.random.default_rng(0).permutation(vectors)) is None


def test_noise_is_no_mixture() -> None:
    noise = np.random.default_rng(0).standard_normal((1_000, 32)).astype(np.float32)
    assert find_mixture(noise) is None
