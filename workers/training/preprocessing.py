"""What a model that is to be trained makes of its raw inputs."""

from __future__ import annotations

from pathlib import Path

from models.embedding_model.backbones import local_folder
from models.inputs import Inputs, Preprocessing, learn_tokenizer
from models.portable import Architecture
from workers.context import StepFailed

_VOCABULARY = 30_522


def preprocessing_for(
    architecture: Architecture, inputs: Inputs, *, image_size: int | None, tokens: int, backbones_dir: Path
) -> Preprocessing:
    """How images are sized, or texts cut into tokens: by a local backbone's tokenizer, or one learned from `inputs`.

    Raises StepFailed where a local backbone brings no tokenizer, and ValueError for a vocabulary without room.
    """
    if architecture.modality == "image":
        if image_size is None:
            raise ValueError("a model of images is trained at some size")
        return Preprocessing.images(image_size)
    if architecture.source == "local":
        path = local_folder(architecture, backbones_dir) / "tokenizer.json"
        if not path.is_file():
            raise StepFailed(f"The local model {architecture.name!r} has no tokenizer.json. Put it beside its weights.")
        return Preprocessing.texts(path.read_text(), tokens)
    vocabulary = int(architecture.settings.get("vocab_size", _VOCABULARY))
    return Preprocessing.texts(learn_tokenizer(inputs, vocabulary), tokens)  # type: ignore[arg-type]  # texts
