"""A trained model on disk: a folder of `card.json` and `weights-<checksum>.safetensors`, or both in one zip file.

Nothing is ever unpickled; weights and card are checked against the checksums in the card. The card is replaced last, so
after a crash the folder holds either the new model or the previous one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from models.embedding_model.backbones import CannotBuild, Embedder, build
from models.embedding_model.card import ModelCard
from models.embedding_model.model import EmbeddingModel
from models.inputs import Preprocessing
from models.portable import Architecture, CorruptArtifact, publish, replacing

CARD, TOKENIZER = "card.json", "tokenizer.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MOST_CARD_BYTES = 64 * 2**20  # a text model's card holds its tokenizer


def save(model: EmbeddingModel, folder: Path) -> ModelCard:
    """Writes the model to a folder; returns its card with the checksum of the weights. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.embedder.state_dict().items()}
    weights = save_tensors(state)
    card = dataclasses.replace(model.card, sha256=hashlib.sha256(weights).hexdigest())
    publish(folder / weights_name(card), weights)
    publish(folder / CARD, card.to_json().encode())
    for stale in set(folder.glob("weights-*.safetensors")) - {folder / weights_name(card)}:
        stale.unlink()
    return card


def load(path: Path) -> EmbeddingModel:
    """Reads a model from its folder or zip file. Raises CorruptArtifact where weights and card do not match."""
    if path.is_file():
        with tempfile.TemporaryDirectory(prefix="crosswalk-model-") as folder:
            _unzip(path, Path(folder))
            return load(Path(folder))
    try:
        card = ModelCard.from_json((path / CARD).read_text())
        weights = (path / weights_name(card)).read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"{path} is no readable model: {error}") from error
    if hashlib.sha256(weights).hexdigest() != card.sha256:
        raise CorruptArtifact(f"{weights_name(card)} does not have the checksum that its card names")
    return EmbeddingModel(card, _embedder(card, weights), Preprocessing.from_json(card.preprocessing))


def zipped(folder: Path, path: Path) -> None:
    """Writes a saved model as one zip file; equal models give equal bytes.

    A text model's tokenizer is in it also as `tokenizer.json`, where other tools look for it.
    """
    text = (folder / CARD).read_text()
    card = ModelCard.from_json(text)
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(CARD, _EPOCH), text)
        if tokenizer := card.preprocessing["tokenizer"]:
            archive.writestr(zipfile.ZipInfo(TOKENIZER, _EPOCH), tokenizer)
        entry = zipfile.ZipInfo(weights_name(card), _EPOCH)
        entry.file_size = (folder / weights_name(card)).stat().st_size
        with archive.open(entry, "w") as into, (folder / weights_name(card)).open("rb") as source:
            shutil.copyfileobj(source, into)


def weights_name(card: ModelCard) -> str:
    """The name of the weights file of a saved card."""
    return f"weights-{card.sha256[:16]}.safetensors"


def _embedder(card: ModelCard, weights: bytes) -> Embedder:
    try:
        architecture = Architecture.from_json(card.architecture)
        embedder = build(architecture, card.dimension)
        embedder.load_state_dict(load_tensors(weights))
    except (CannotBuild, SafetensorError, RuntimeError, ValueError, TypeError) as error:
        raise CorruptArtifact(f"the weights do not fit the card: {error}") from error
    return embedder.eval()


def _unzip(path: Path, folder: Path) -> None:
    """Extracts the card and the weights that it names, and nothing else; raises CorruptArtifact."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(CARD).file_size > _MOST_CARD_BYTES:
                raise CorruptArtifact(f"the card in {path} is too large to be one")
            text = archive.read(CARD)
            name = weights_name(ModelCard.from_json(text.decode()))
            weights = archive.getinfo(name)
            if weights.compress_type != zipfile.ZIP_STORED:
                raise CorruptArtifact(f"{name} in {path} is compressed: this is not how a model is packed")
            (folder / CARD).write_bytes(text)
            (folder / name).write_bytes(archive.read(name))
    except (zipfile.BadZipFile, KeyError, OSError, RuntimeError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"{path} is no readable model: {error}") from error
