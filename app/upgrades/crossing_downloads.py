"""The crossing of an upgrade as one file to take away, made when it is asked for and kept until nobody does."""

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from app.artifacts.crossings import Crossing, open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.onnx_graph import GraphDiffers, onnx_bytes
from app.artifacts.score_translations import has_score_translations, open_score_translations
from app.artifacts.shared import SharedArtifacts
from app.problems import WrongState
from app.settings import Settings
from app.upgrades.request import FORWARD, FUSED
from app.upgrades.schemas import Upgrade
from app.upgrades.service import Upgrades
from app.upgrades.states import ENDED, RUNNING, UpgradeState
from models.portable import (
    ArtifactError,
    CrossingCard,
    PortableCrossing,
    ScoreTranslations,
    check_seal,
    crossing_bytes,
    read_sealed,
    seal,
)

_BYTES, _JSON = "application/octet-stream", "application/json"  # neither safetensors nor ONNX has a type of its own
_FIGURES = (
    "accepted",
    "reason",
    "served_as",
    "gate",
    "provisional",
    "provisional_reason",
    "proved_at",
    "metrics",
    "fused",
    "judged",
    "basis",
)
"""Of a gallery's report, what its card repeats."""


class CrossingFormat(StrEnum):
    """What a crossing is written as: arrays with their card inside, the card alone, or a graph."""

    SAFETENSORS = "safetensors"
    CARD = "card"
    ONNX = "onnx"


@dataclass(frozen=True)
class CrossingDownload:
    """A file to be downloaded, and what it is to be called."""

    path: Path
    name: str
    media_type: str


class CrossingDownloads:
    """Makes the files of crossings that a gate accepted.

    A file is kept in a folder of the upgrade's, under a name made of its card, so that parts of a download that was cut
    off fit together, in whichever process they are asked for. It can always be made again.
    """

    def __init__(self, settings: Settings, upgrades: Upgrades) -> None:
        self._artifacts = settings.artifacts_dir
        self._folder = settings.downloads_dir
        self._shared = SharedArtifacts(settings)
        self._upgrades = upgrades

    def file(self, upgrade: str, format: CrossingFormat) -> CrossingDownload:
        """The crossing of an upgrade as a file. Raises NotFound; WrongState where there is none to take away, or none
        in this format, saying why; CorruptArtifact where what was learned is damaged."""
        now = self._upgrades.get(upgrade)
        proofs = _proofs(now)
        self._shared.refresh()
        files = UpgradeArtifacts(self._artifacts, upgrade)
        learned, _ = read_sealed(files.chosen)
        crossing = open_crossing(files, learned.source, learned.target)
        scores = None
        if has_score_translations(files):
            scores = open_score_translations(files, learned.source, learned.target)
        card = _card(now, crossing, scores, proofs)
        name = f"{card.source.model}-to-{card.target.model}.{format}"
        match format:
            case CrossingFormat.SAFETENSORS:
                path = self._made(card, name, lambda: crossing_bytes(PortableCrossing(card, crossing, scores)))
                return CrossingDownload(path, name, _BYTES)
            case CrossingFormat.ONNX:
                return CrossingDownload(self._graph(now, crossing, card, name), name, _BYTES)
            case CrossingFormat.CARD:
                name = f"{name}.json"
                return CrossingDownload(self._made(card, name, card.to_json().encode), name, _JSON)

    def _graph(self, upgrade: Upgrade, crossing: Crossing, card: CrossingCard, name: str) -> Path:
        """The crossing as a graph. Raises WrongState where ONNX Runtime computes anything else from it than numpy."""
        try:
            return self._made(card, name, lambda: onnx_bytes(crossing, card))
        except GraphDiffers as error:
            raise WrongState(
                f"Upgrade {upgrade.id} has no graph to hand out: what ONNX Runtime computes from it {error}. "
                "`format=safetensors` is the same crossing, and `crosswalk apply` computes it with numpy.",
                state=upgrade.state,
                upgrade=upgrade.id,
            ) from error

    def _made(self, card: CrossingCard, name: str, content: Callable[[], bytes]) -> Path:
        """The file of this name, made unless it is there and whole."""
        key = hashlib.sha256(card.to_json().encode()).hexdigest()[:16]
        path = self._folder / card.upgrade / f"{key}-{name}"
        if _whole(path):
            os.utime(path.parent)  # so that it is no leftover while somebody asks for it
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial.{secrets.token_hex(4)}")
        try:
            partial.write_bytes(content())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        seal(path)
        return path


def _whole(path: Path) -> bool:
    try:
        return check_seal(path)
    except (ArtifactError, OSError):
        return False


def _card(
    upgrade: Upgrade, crossing: Crossing, scores: ScoreTranslations | None, proofs: Mapping[str, Mapping[str, Any]]
) -> CrossingCard:
    pushing = None
    if crossing.plain.pushable:
        told = crossing.plain.push(np.ones((1, crossing.plain.card.target.dimension), np.float32))
        pushing = f"{'exact' if told.exact else 'approximate'}: {told.reason}"
    return CrossingCard(
        upgrade=upgrade.id,
        chosen=crossing.chosen.card,
        plain=crossing.plain.card,
        uncertainty=None if crossing.uncertainty is None else crossing.uncertainty.card,
        scores=None if scores is None else scores.card,
        pushing=pushing,
        served_as=_served_as(upgrade, proofs),
        proof={name: {key: proof[key] for key in _FIGURES if key in proof} for name, proof in proofs.items()},
    )


def _served_as(upgrade: Upgrade, proofs: Mapping[str, Mapping[str, Any]]) -> str:
    """What the gate accepted. A dry run serves nothing, so that only its proofs say it; of several galleries, one that
    needs the old model's queries has all of them need it."""
    fused = upgrade.served_as == FUSED or any(proof.get("served_as") == FUSED for proof in proofs.values())
    return FUSED if fused else "crossing"


def _proofs(upgrade: Upgrade) -> Mapping[str, Mapping[str, Any]]:
    """The report of each gallery that an accepted crossing was proved on. Raises WrongState where there is none."""

    def none(why: str) -> WrongState:
        return WrongState(f"Upgrade {upgrade.id} {why}", state=upgrade.state, upgrade=upgrade.id)

    if upgrade.strategy != FORWARD:
        raise none(f"trains a model, which is what can be taken away: GET /models/{upgrade.to}/artifact.")
    proofs: dict[str, dict[str, Any]] = (upgrade.report or {}).get("galleries", {})
    again = f"POST /models/{upgrade.source}/upgrade learns one anew"
    if upgrade.state == UpgradeState.REJECTED:
        raise none(f"was rejected, and a crossing that loses is not handed out: {upgrade.reason} {again}.")
    if not proofs and upgrade.state in RUNNING:
        raise none(
            f"is still {upgrade.state}, and nothing is proved yet. GET /upgrades/{upgrade.id}/events follows it."
        )
    if not proofs:
        raise none(f"is {upgrade.state}: it ended before a crossing was proved. {again}.")
    losing = sorted(name for name, proof in proofs.items() if not proof.get("accepted"))
    if losing and upgrade.state in ENDED:
        raise none(
            f"is {upgrade.state}, and its gate does not accept the crossing on {', '.join(losing)}: one that loses is "
            f"not handed out. GET /upgrades/{upgrade.id}/report says why; {again}."
        )
    return proofs
