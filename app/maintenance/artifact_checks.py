"""Whether what upgrades and trainings left on disk is there, and is what was written."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from app.artifacts.folder import CrossingFiles, EncoderArtifacts, TrainedModelFiles, UpgradeArtifacts
from app.composition import Crosswalk
from app.maintenance.findings import Finding
from models.portable import CARD, ArtifactError, check_seal, digest, read_sealed

_SEALS, _WEIGHTS = ".*.sha256", "weights-*.safetensors"
_OWN_CHECKSUM = "card_sha256"
_WORKING, _CHARTS = "training", "charts.json"


def artifact_findings(crosswalk: Crosswalk) -> Iterator[Finding]:
    """What is wrong with the artifacts of every upgrade and of every encoder of side-information."""
    root = crosswalk.settings.artifacts_dir
    for crossing in crosswalk.upgrades.every():
        subject, files = f"upgrade {crossing.upgrade}", UpgradeArtifacts(root, crossing.upgrade)
        if crossing.needed:
            yield from _missing(subject, _model(files) if crossing.trained else _crossing(files))
            yield from _missing(subject, tuple(files.fusion(gallery) / CARD for gallery in crossing.fused_only))
        yield from damaged_files(subject, files.folder)
    for run, ready in crosswalk.encoders.runs().items():
        encoder = EncoderArtifacts(root, run)
        if ready:
            yield from _missing(f"encoder {run}", _model(encoder))
        yield from damaged_files(f"encoder {run}", encoder.folder)


def _crossing(files: CrossingFiles) -> tuple[Path, ...]:
    return files.chosen / CARD, files.plain / CARD


def _model(files: TrainedModelFiles) -> tuple[Path, ...]:
    return files.model / CARD, files.model_zip


def _missing(subject: str, needed: tuple[Path, ...]) -> Iterator[Finding]:
    for path in needed:
        if not path.exists():
            yield Finding("missing", subject, path, "what was learned is not there", "restore")


def damaged_files(subject: str, folder: Path) -> Iterator[Finding]:
    """Every file with a checksum, wherever that is kept: beside it, in its name, or in the card beside it."""
    for sidecar in sorted(folder.rglob(_SEALS)):
        path = sidecar.with_name(sidecar.name.removeprefix(".").removesuffix(".sha256"))
        if not _working(path, folder):
            yield from _unless_whole(subject, path, folder)
    for weights in sorted(folder.rglob(_WEIGHTS)):
        if not _working(weights, folder) and digest(weights)[:16] != weights.stem.removeprefix("weights-"):
            yield Finding("damaged", subject, weights, "it does not have the checksum in its name", "restore")
        elif (card := weights.with_name(CARD)).exists() and not card.with_name(f".{CARD}.sha256").exists():
            yield from _unless_sealed(subject, card)
    if (packed := folder / "model.zip").exists():
        yield from _unless_unpacked(subject, packed)


def _unless_whole(subject: str, path: Path, folder: Path) -> Iterator[Finding]:
    try:
        check_seal(path)
    except ArtifactError as error:
        # Without its tuning, an index's own effort serves until it is measured anew; charts are drawn anew.
        spared = path.parent.name == "tuning" or path == folder / _CHARTS
        yield Finding("damaged", subject, path, str(error), "remove" if spared else "restore")


def _unless_sealed(subject: str, card: Path) -> Iterator[Finding]:
    """The card of a crossing, which its weights hold too; or of a trained model, which names its own checksum."""
    try:
        fields = json.loads(card.read_bytes())
        if (checksum := fields.pop(_OWN_CHECKSUM, None)) is None:
            read_sealed(card.parent)
        elif hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest() != checksum:
            yield Finding("damaged", subject, card, "it does not have the checksum that it names", "restore")
    except (ArtifactError, OSError, ValueError, AttributeError) as error:
        yield Finding("damaged", subject, card, str(error), "restore")


def _unless_unpacked(subject: str, packed: Path) -> Iterator[Finding]:
    """A zip file has a checksum of every file in it."""
    try:
        with zipfile.ZipFile(packed) as archive:
            wrong = archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        yield Finding("damaged", subject, packed, str(error), "restore")
        return
    if wrong is not None:
        yield Finding("damaged", subject, packed, f"{wrong} in it does not have its checksum", "restore")


def _working(path: Path, folder: Path) -> bool:
    """Whether a file is of training at work, which reads it with care and can do without it."""
    return path.relative_to(folder).parts[0] == _WORKING
