"""Damage to what upgrades and trainings left is found wherever its checksum is kept, and so is what is not there."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import update

from app.maintenance.artifact_checks import artifact_findings, damaged_files
from app.settings import Settings
from app.upgrades.tables import UpgradeRow
from models.embedding_model import save, zipped
from models.portable import publish
from tests.app.search.fused_world import FusedWorld, fused_world
from tests.models.embedding_model.tiny import model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    save(model(), folder / "model")
    zipped(folder / "model", folder / "model.zip")
    (folder / "tuning").mkdir()
    publish(folder / "tuning" / "1-a.json", b'{"effort": 9}', sealed=True)
    publish(folder / "charts.json", b'{"key": "<svg/>"}', sealed=True)
    publish(folder / "cascade.json", b'{"k": 40}', sealed=True)
    return folder


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("model/card.json", "restore"),
        ("model/weights-*.safetensors", "restore"),
        ("model.zip", "restore"),
        ("cascade.json", "restore"),
        ("tuning/1-a.json", "remove"),
        ("charts.json", "remove"),
    ],
)
def test_flipped_byte_is_found(trained: Path, pattern: str, remedy: str) -> None:
    assert list(damaged_files("upgrade u", trained)) == []
    (path,) = trained.glob(pattern)
    sound = path.read_bytes()
    middle = len(sound) // 2
    path.write_bytes(sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :])
    (finding,) = damaged_files("upgrade u", trained)
    path.write_bytes(sound)
    assert (finding.kind, finding.path, finding.remedy) == ("damaged", path, remedy)


def test_what_fuses_scores_is_checked_and_missed_where_an_upgrade_is_served_by_it_alone(settings: Settings) -> None:
    def findings(world: FusedWorld) -> list[tuple[str, Path]]:
        return [(finding.kind, finding.path) for finding in artifact_findings(world.crosswalk)]

    with fused_world(settings, "cosine", "cosine") as world:
        with world.crosswalk.database.session() as session:
            session.execute(update(UpgradeRow).values(learned={}))
        world.accept_only_as_fused()
        assert findings(world) == []
        folder = world.artifacts.fusion("g")
        (weights,) = folder.glob("weights-*.safetensors")
        weights.write_bytes(weights.read_bytes()[:-1] + bytes([weights.read_bytes()[-1] ^ 1]))
        assert ("damaged", weights) in findings(world)
        shutil.rmtree(folder)
        assert findings(world) == [("missing", folder / "card.json")]
