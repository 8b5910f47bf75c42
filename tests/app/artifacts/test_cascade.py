"""How many candidates a cascade takes, and the table of rows that it keeps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from app.artifacts.cascade import Cascade, has_cascade, open_cascade
from app.artifacts.folder import UpgradeArtifacts
from app.search.transformed_rows import TransformedRows

CASCADE = Cascade(0.99, 40, 250, 0.991, (0.985, 0.996), 500, 9_000)


def test_cascade_survives_the_round_trip(tmp_path: Path) -> None:
    artifacts = UpgradeArtifacts(tmp_path, "upg")
    artifacts.folder.mkdir()
    assert not has_cascade(artifacts)
    CASCADE.save(artifacts)
    assert has_cascade(artifacts)
    assert open_cascade(artifacts) == CASCADE


@pytest.mark.parametrize("many", [None, 40, 250, 900])
def test_candidates_pass_through_what_was_measured_and_never_fall_below_what_is_wanted(many: int | None) -> None:
    cascade = dataclasses.replace(CASCADE, k_for_100=many)
    counts = [cascade.candidates(wanted) for wanted in (1, 5, 10, 11, 50, 100, 1_000)]
    assert counts == sorted(counts)
    assert counts[:3] == [40, 40, 40]
    assert cascade.candidates(100) == pytest.approx(max(100, many or 400), abs=1)
    assert counts[-1] >= 1_000


def test_note_says_how_many_candidates_and_what_was_measured() -> None:
    assert CASCADE.note(10).startswith("40 candidates")
    assert "99.1% (98.5% to 99.6%)" in CASCADE.note(10)


def test_kept_rows_are_found_under_their_version_alone() -> None:
    kept, rows = TransformedRows(2, 10_000), np.array([3, 8, 4])
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    kept.keep(rows, np.array([1, 1, 2]), vectors)
    taken, here = kept.take(np.array([8, 3, 4, 5]), np.array([1, 1, 1, 1]))
    assert here.tolist() == [True, True, False, False]
    np.testing.assert_array_equal(taken[:2], vectors[[1, 0]])


def test_rows_that_share_a_slot_displace_each_other_whole() -> None:
    kept, rows = TransformedRows(4, 5 * 32), np.arange(40)
    vectors = np.repeat(rows[:, None], 4, axis=1).astype(np.float32)
    for _ in range(2):
        kept.keep(rows, rows + 100, vectors)
        taken, here = kept.take(rows, rows + 100)
        assert here.sum() == 5
        np.testing.assert_array_equal(taken[here], vectors[here])
