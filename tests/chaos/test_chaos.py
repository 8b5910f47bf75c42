"""A short run of faults under load in each arrangement; `make chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.cluster import ARRANGEMENTS, Arrangement
from tests.chaos.run import Plan, chaos

SECONDS = 8


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_nothing_is_lost_stale_or_of_a_wrong_space_under_faults(arrangement: Arrangement, tmp_path: Path) -> None:
    result = chaos(arrangement, Plan(SECONDS, seed=1, clients=3, every=(0.5, 1.5)), tmp_path)
    assert result.violations == [], result.told()
    assert result.faults.total(), "no fault was done: nothing was tried"
    assert result.operations["Put", "ok"], "no write was acknowledged: nothing was tried"
