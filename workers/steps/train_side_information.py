"""Trains an encoder of side-information on a dataset's raw inputs, and saves it as a model of its own."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import torch
from sqlalchemy.orm import Session

from app.artifacts.folder import EncoderArtifacts
from app.artifacts.shared import SharedArtifacts
from app.composition import compose
from app.side_information.schemas import Encoder
from models import embedding_model
from models.contrastive_training import ContrastiveSettings, NotTrainable, TrainedEncoder, method_of, train_contrastive
from models.device import resolve
from models.embedding_model.backbones import CannotBuild
from models.inputs import BadInput
from models.portable import Architecture
from workers.context import StepContext, StepFailed
from workers.rows.raw_rows import RawRows, raw_rows
from workers.training.preprocessing import preprocessing_for


def run(context: StepContext) -> None:
    """From raw inputs to an artifact. A resumed attempt reads the same rows and goes on from the last epoch."""
    crosswalk = compose(context.settings, context.database)
    run = context.lease.subject
    encoder = crosswalk.encoders.begin(run)
    artifacts = EncoderArtifacts(context.settings.artifacts_dir, run)
    column = Architecture.from_json(encoder.architecture).modality
    rows = raw_rows(crosswalk.datasets.store(encoder.dataset).rows, column, artifacts.raw_rows)
    device = resolve(context.settings.device)
    trained = _train(context, encoder, rows, device, artifacts)
    model = trained.model(
        encoder.id, dataset=encoder.dataset, version=rows.version, created_at=datetime.now(UTC).isoformat()
    )
    embedding_model.save(model, artifacts.model)
    embedding_model.zipped(artifacts.model, artifacts.model_zip)
    learned = _summary(trained, device)

    def apply(session: Session) -> None:
        crosswalk.encoders.finish(session, run, learned)

    context.finish(apply, served=artifacts.training)  # the rows' copy and the checkpoint
    SharedArtifacts(context.settings).discard(artifacts.training)  # what other attempts gave to the store


def _train(
    context: StepContext, encoder: Encoder, rows: RawRows, device: torch.device, artifacts: EncoderArtifacts
) -> TrainedEncoder:
    architecture = Architecture.from_json(encoder.architecture)
    given = encoder.training.model_dump(exclude_none=True)
    image_size, tokens = given.pop("image_size", None), given.pop("tokens")
    try:
        return train_contrastive(
            rows.inputs,
            architecture=architecture,
            dimension=encoder.dimension,
            preprocessing=preprocessing_for(
                architecture,
                rows.inputs,
                image_size=image_size,
                tokens=tokens,
                backbones_dir=context.settings.backbones_dir,
            ),
            settings=ContrastiveSettings.for_modality(architecture.modality, **given),
            device=device,
            folder=artifacts.training,
            backbones_dir=context.settings.backbones_dir,
            progress=context.progress,
        )
    except (NotTrainable, CannotBuild) as error:
        raise StepFailed(f"Dataset {encoder.dataset!r}: {error}") from error
    except BadInput as error:
        raise StepFailed(
            f"Row {rows.id[error.row]!r} of dataset {encoder.dataset!r} cannot be trained on: {error.reason}. Replace "
            "or remove it, and start the training again."
        ) from error


def _summary(trained: TrainedEncoder, device: torch.device) -> dict[str, Any]:
    """What is shown of training; plain JSON."""
    return {
        "method": method_of(trained.preprocessing.modality),
        "rows": trained.rows,
        "dimension": trained.embedder.dimension,
        "architecture": trained.architecture.to_json(),
        "parameters": sum(parameter.numel() for parameter in trained.embedder.parameters()),
        "settings": dataclasses.asdict(trained.settings),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "epochs": [dataclasses.asdict(epoch) for epoch in trained.history],
        "best_epoch": trained.best_epoch,
        "metrics": trained.metrics,
    }
