"""Trains an encoder of side-information on raw images or texts, without labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.arrays import Progress
from models.contrastive_training.loop import ContrastiveEpoch, ContrastiveTask, run_contrastive
from models.contrastive_training.objective import Contrast
from models.contrastive_training.settings import ContrastiveSettings, method_of
from models.embedding_model import EmbeddingModel, ModelCard, TrainedOn
from models.embedding_model.backbones import Embedder, build, described
from models.inputs import BadInput, Inputs, InputSubset, Preprocessing
from models.portable import Architecture, Distance
from models.training import NotTrainable, checkpoint, diverged

DIMENSION = 128  # that of side-information in FCT (Ramanujan et al., CVPR 2022, §5)
FEWEST_ROWS = 4
_MOST_HELD_OUT = 4096


@dataclass(frozen=True)
class TrainedEncoder:
    """A trained encoder and the record of its training.

    embedder: in evaluation mode, on the CPU. history: one record per epoch. best_epoch: from 1, the one whose weights
    were kept. architecture: without reference to a local folder. rows: the number trained on, without those held out.
    fingerprint: SHA-256 over all inputs, in order.
    """

    embedder: Embedder
    history: tuple[ContrastiveEpoch, ...]
    best_epoch: int
    architecture: Architecture
    preprocessing: Preprocessing
    settings: ContrastiveSettings
    rows: int
    fingerprint: str

    @property
    def metrics(self) -> dict[str, float]:
        """The losses and measurements of the kept epoch, by name."""
        record = asdict(self.history[self.best_epoch - 1])
        return {name: record[name] for name in ("loss", *_HELD_OUT_METRICS) if record[name] is not None}

    def model(
        self, id: str, *, dataset: str, version: int, created_at: str, metric: Distance = "cosine"
    ) -> EmbeddingModel:
        """The encoder as an embedding model named `id`, with its card, ready to be saved, served and exported.

        dataset, version: of the training rows. created_at: ISO 8601 in UTC.
        """
        card = ModelCard(
            id=id,
            dimension=self.embedder.dimension,
            metric=metric,
            compatible_with=None,
            architecture=self.architecture.to_json(),
            preprocessing=self.preprocessing.to_json(),
            method=method_of(self.preprocessing.modality),
            settings=asdict(self.settings),
            trained_on=TrainedOn(dataset, version, self.rows, None, self.fingerprint),
            metrics=self.metrics,
            created_at=created_at,
            role="side_information",
        )
        return EmbeddingModel(card, self.embedder, self.preprocessing)


_HELD_OUT_METRICS = ("held_out_loss", "alignment", "uniformity")


def train_contrastive(
    inputs: Sequence[bytes] | Sequence[str],
    *,
    architecture: Architecture,
    dimension: int = DIMENSION,
    preprocessing: Preprocessing,
    settings: ContrastiveSettings,
    device: torch.device,
    folder: Path,
    backbones_dir: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> TrainedEncoder:
    """Trains an encoder to tell the inputs apart: encoded images by SimCLR, texts by SimCSE.

    folder: keeps the checkpoint, from which another call with the same arguments resumes. progress: counts training
    steps. On a CPU the same arguments give the same weights, interrupted or not. Of several GPUs one is used.

    Raises NotTrainable where there is too little to learn from or the loss diverges; BadInput for a row that cannot be
    prepared; CannotBuild for an architecture that cannot be built.
    """
    _check(inputs, architecture, dimension, preprocessing, settings)
    torch.manual_seed(settings.seed)
    embedder = build(architecture, dimension, backbones_dir=backbones_dir)
    if preprocessing.modality == "text" and not settings.dropped_tokens:
        _check_dropout(embedder)
    inputs_fingerprint = fingerprint(inputs)
    training, held_out = _held_out(inputs, settings)
    task = ContrastiveTask(
        training=training,
        held_out=held_out,
        preprocessing=preprocessing,
        settings=settings,
        folder=folder,
        fingerprint=_task_fingerprint(inputs_fingerprint, architecture, dimension, preprocessing, settings),
    )
    rebuildable = described(architecture, embedder)
    run_contrastive(embedder, task, device, progress)
    return _collected(embedder, rebuildable, task, inputs_fingerprint)


def fingerprint(inputs: Inputs) -> str:
    """SHA-256 over all inputs, in order. Raises BadInput for an input that is neither bytes nor text."""
    digest = hashlib.sha256()
    for row, raw in enumerate(inputs):
        if not isinstance(raw, bytes | str):
            raise BadInput(row, f"an encoded image or a text is expected, not {type(raw).__name__}")
        content = raw.encode() if isinstance(raw, str) else raw
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _check(
    inputs: Inputs,
    architecture: Architecture,
    dimension: int,
    preprocessing: Preprocessing,
    settings: ContrastiveSettings,
) -> None:
    if architecture.modality != preprocessing.modality:
        raise NotTrainable(f"A {architecture.name} embeds {architecture.modality}s, not {preprocessing.modality}s.")
    if len(inputs) < FEWEST_ROWS:
        raise NotTrainable(f"{len(inputs)} rows are too few to tell apart: at least {FEWEST_ROWS}, better thousands.")
    if settings.batch < FEWEST_ROWS:
        raise NotTrainable(
            f"A `batch` of {settings.batch} is too small: a row is told from the others of its batch, at least "
            f"{FEWEST_ROWS}, better hundreds."
        )
    if dimension < 1 or (settings.head is not None and settings.head < 1):
        raise NotTrainable(f"`dimension` {dimension} and `head` {settings.head} are to be at least 1.")
    if not 0 <= settings.dropped_tokens < 1:
        raise NotTrainable(f"`dropped_tokens` {settings.dropped_tokens:g} is to be from 0 to below 1.")
    if not settings.temperature > 0 or not 0 <= settings.held_out <= 0.5 or not 0 < settings.least_area <= 1:
        raise NotTrainable(
            f"`temperature` {settings.temperature:g} is to be above 0, `held_out` {settings.held_out:g} from 0 to 0.5, "
            f"`least_area` {settings.least_area:g} above 0 and at most 1."
        )


def _check_dropout(embedder: Embedder) -> None:
    if not any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in embedder.modules()):
        raise NotTrainable(
            "The views of a text differ by dropout, and this architecture has none: set its dropout in `config`, such "
            "as `hidden_dropout_prob` of bert, to 0.1, or `dropped_tokens`."
        )


def _held_out(inputs: Inputs, settings: ContrastiveSettings) -> tuple[Inputs, Inputs]:
    """The inputs to train on, and a random share of them held out for validation."""
    count = min(_MOST_HELD_OUT, round(settings.held_out * len(inputs)))
    order = np.random.default_rng(settings.seed).permutation(len(inputs))
    return InputSubset(inputs, np.sort(order[count:])), InputSubset(inputs, np.sort(order[:count]))


def _task_fingerprint(
    inputs: str,
    architecture: Architecture,
    dimension: int,
    preprocessing: Preprocessing,
    settings: ContrastiveSettings,
) -> str:
    """SHA-256 of all that determines the weights; the number of processes that prepare batches does not."""
    determining = {
        "inputs": inputs,
        "architecture": architecture.to_json(),
        "dimension": dimension,
        "preprocessing": preprocessing.to_json(),
        "settings": asdict(replace(settings, workers=0)),
    }
    return hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()


def _collected(embedder: Embedder, architecture: Architecture, task: ContrastiveTask, inputs: str) -> TrainedEncoder:
    saved = checkpoint.read(task.folder, task.fingerprint)
    if saved is None:
        raise RuntimeError("training left no checkpoint")
    history = tuple(ContrastiveEpoch(**epoch) for epoch in saved.record["epochs"])
    if diverged(history):
        raise NotTrainable(
            f"Training diverged: in epoch {len(history)} the loss became {history[-1].loss}. Give a smaller "
            f"`learning_rate` than {task.settings.learning_rate:g}, or more `warm_up_epochs`."
        )
    best = saved.part("best")
    contrast = Contrast(embedder.cpu(), task.settings.head)
    contrast.load_state_dict(best or saved.part("network"))
    return TrainedEncoder(
        embedder=contrast.embedder.eval(),
        history=history,
        best_epoch=(saved.record["best_epoch"] if best else len(history) - 1) + 1,
        architecture=architecture,
        preprocessing=task.preprocessing,
        settings=task.settings,
        rows=len(task.training),
        fingerprint=inputs,
    )
