"""What an upgrade leaves on disk keeps its place: a newer release reads what an older one wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.folder import EncoderArtifacts, UpgradeArtifacts

ROOT = Path("/data/artifacts")
UPGRADE, ENCODER = UpgradeArtifacts(ROOT, "upg-1"), EncoderArtifacts(ROOT, "enc-1")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (UPGRADE.folder, "upg-1"),
        (UPGRADE.chosen, "upg-1/chosen"),
        (UPGRADE.plain, "upg-1/plain"),
        (UPGRADE.uncertainty, "upg-1/uncertainty"),
        (UPGRADE.shortcut("old").chosen, "upg-1/from/old/chosen"),
        (UPGRADE.shortcut("old").plain, "upg-1/from/old/plain"),
        (UPGRADE.shortcut("old").uncertainty, "upg-1/from/old/uncertainty"),
        (UPGRADE.held_out, "upg-1/held_out.parquet"),
        (UPGRADE.queries, "upg-1/queries.npy"),
        (UPGRADE.cascade, "upg-1/cascade.json"),
        (UPGRADE.charts, "upg-1/charts.json"),
        (UPGRADE.tuning("0001-ab"), "upg-1/tuning/0001-ab.json"),
        (UPGRADE.rows, "upg-1/rows.parquet"),
        (UPGRADE.model, "upg-1/model"),
        (UPGRADE.model_zip, "upg-1/model.zip"),
        (UPGRADE.labelled_rows("pairs"), "upg-1/training/pairs.arrow"),
        (UPGRADE.split, "upg-1/training/split.npz"),
        (ENCODER.model_zip, "enc-1/model.zip"),
        (ENCODER.raw_rows, "enc-1/training/rows.arrow"),
    ],
)
def test_every_file_keeps_its_place(path: Path, place: str) -> None:
    assert path == ROOT / place


def test_shortcuts_are_dropped_together_and_rows_and_checkpoint_with_the_training() -> None:
    assert UPGRADE.shortcut("old").folder.parent == UPGRADE.shortcuts
    assert UPGRADE.split.parent == UPGRADE.labelled_rows("pairs").parent == UPGRADE.training
    assert ENCODER.raw_rows.parent == ENCODER.training


def test_folders_of_one_upgrade_are_equal_and_those_of_two_are_not() -> None:
    again = UpgradeArtifacts(ROOT, "upg-1")
    assert (again, hash(again)) == (UPGRADE, hash(UPGRADE))
    assert UpgradeArtifacts(ROOT, "upg-2") != UPGRADE
