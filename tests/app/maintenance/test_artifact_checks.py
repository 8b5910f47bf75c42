"""Damage to what training left is found wherever its checksum is kept."""

from pathlib import Path

import pytest

from app.maintenance.artifact_checks import damaged_files
from models.embedding_model import save, zipped
from models.portable import publish
from tests.models.embedding_model.tiny import model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    save(model(), folder / "model")
    zipped(folder / "model", folder / "model.zip")
    (folder / "tuning").mkdir()
    publish(folder / "tuning" / "1-a.json", b'{"effort": 9}', sealed=True)
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
