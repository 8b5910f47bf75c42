"""Draws of the bootstrap are the same however much of them is kept."""

import numpy as np
import pytest

from models.evaluation import bootstrap
from models.evaluation.bootstrap import resampled_sums


@pytest.mark.parametrize(("rows", "size"), [(300, None), (2, 5_000)])
def test_draws_that_are_kept_are_those_that_would_be_made_anew(
    rows: int, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a row is drawn more often than a byte can count."""
    monkeypatch.setattr(bootstrap, "DRAWS_IN_MEMORY", 4_000)
    parts = np.random.default_rng(1).standard_normal((rows, 3))
    kept = [resampled_sums(parts, seed=4, resamples=50, size=size) for _ in range(2)]
    monkeypatch.setattr(bootstrap, "DRAWS_KEPT", 0)
    anew = resampled_sums(parts, seed=4, resamples=50, size=size)
    assert all(np.array_equal(each, anew) for each in kept)
