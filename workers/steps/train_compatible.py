"""Trains a new model to land in the old space, and saves it with all that was found on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.upgrades.compatible_request import CompatibleUpgrade
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import Event
from models import embedding_model
from models.compatible_training import (
    LabelledInputs,
    NotTrainable,
    Split,
    Trained,
    TrainingSettings,
    train_compatible,
    with_signed_features,
)
from models.compatible_training.instance_weights import InstanceWeightSettings
from models.device import resolve
from models.embedding_model import EmbeddingModel
from models.embedding_model.backbones import CannotBuild, described
from models.inputs import BadInput, Preprocessing
from models.portable import Architecture, Space, save_transformation, zero_padding
from workers.context import StepContext, StepFailed
from workers.rows.labelled_rows import LabelledRows, read_rows
from workers.rows.split import not_trained_on, split_rows
from workers.training.model_card import card_of, summary_of
from workers.training.preprocessing import preprocessing_for
from workers.training.training_rows import write_training_rows

FEWEST_ROWS, FEWEST_CLASSES, FEWEST_JUDGED = 16, 2, 2


def run(context: StepContext) -> None:
    """From rows to an artifact. A resumed attempt reads the same rows and goes on from the last epoch."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.begin(context.lease.subject)
    artifacts = UpgradeArtifacts(context.settings.artifacts_dir, upgrade.id)
    source, target = crosswalk.models.space(upgrade.source), crosswalk.models.space(upgrade.target)
    architecture = upgrade.compatible.to.built
    rows = read_rows(crosswalk, upgrade, upgrade.asked.dataset)
    labels, codes = np.unique(rows.label.astype(str), return_inverse=True)
    _check(rows, labels, upgrade)
    architecture = with_signed_features(architecture, rows.old)
    split = split_rows(crosswalk, upgrade, codes, labels, artifacts.split)
    _check_proof(crosswalk, upgrade, rows, split)
    try:
        trained, preprocessing, settings = _train(
            context, upgrade, rows, codes, split, architecture, source, target.dimension
        )
        architecture = described(architecture, trained.embedder)
    except (NotTrainable, CannotBuild) as error:
        raise StepFailed(str(error)) from error
    except BadInput as error:
        raise StepFailed(
            f"Row {rows.id[error.row]!r} of dataset {upgrade.asked.dataset!r} cannot be trained on: "
            f"{error.reason}. Replace or remove it, and start the upgrade again."
        ) from error
    now = datetime.now(UTC).isoformat()
    for path in (artifacts.chosen, artifacts.plain):
        save_transformation(zero_padding(source, target, created_at=now), path)
    card = card_of(upgrade, rows, split, trained, architecture, preprocessing, settings, source, target, now)
    embedding_model.save(EmbeddingModel(card, trained.embedder, preprocessing), artifacts.model)
    embedding_model.zipped(artifacts.model, artifacts.model_zip)
    write_training_rows(artifacts.rows, rows, split.training, trained)
    learned = summary_of(card, trained, split, resolve(context.settings.device))

    def apply(session: Session) -> None:
        crosswalk.upgrade_steps.advance(session, upgrade.id, Event.TRAINED, "evaluate_compatible", learned=learned)

    context.finish(apply)


def _check(rows: LabelledRows, labels: NDArray[Any], upgrade: UpgradeInfo) -> None:
    if len(rows.id) < FEWEST_ROWS or len(labels) < FEWEST_CLASSES:
        raise StepFailed(
            f"Dataset {upgrade.asked.dataset!r} has {len(rows.id)} rows of {len(labels)} labels with everything "
            f"that training needs: an input, a label and a vector of {upgrade.source!r} (its own, or that of the item "
            f"of the same id in {', '.join(upgrade.galleries)}); {rows.left_out} more lack a label or that vector. At "
            f"least {FEWEST_ROWS} rows of {FEWEST_CLASSES} labels are needed, and some hundreds a label to do well."
        )


def _check_proof(crosswalk: Crosswalk, upgrade: UpgradeInfo, rows: LabelledRows, split: Split) -> None:
    """Raises StepFailed where nothing will be there to prove the model on, which training would be in vain for."""
    for name in upgrade.galleries:
        if not crosswalk.galleries.items(crosswalk.galleries.info(name)).count():
            raise StepFailed(f"Gallery {name!r} is empty: there is nothing to upgrade. PUT /galleries/{name}/items.")
    evaluation = upgrade.asked.evaluation
    if evaluation is None:
        left, dataset, remedy = len(split.held_out), upgrade.asked.dataset, "or name an `evaluation` dataset"
    else:
        others = read_rows(crosswalk, upgrade, evaluation)
        left, dataset, remedy = len(not_trained_on(others, rows, split)), evaluation, "with ids of their own"
    if left < FEWEST_JUDGED:
        raise StepFailed(
            f"Dataset {dataset!r} has {left} rows with everything they need that the model would not be trained on, to "
            f"judge it by: at least {FEWEST_JUDGED} are needed, and some hundreds for a verdict. (Labels with fewer "
            f"than three rows have none to spare.) Add rows, {remedy}."
        )


def _train(
    context: StepContext,
    upgrade: UpgradeInfo,
    rows: LabelledRows,
    codes: NDArray[np.int64],
    split: Split,
    architecture: Architecture,
    source: Space,
    dimension: int,
) -> tuple[Trained, Preprocessing, TrainingSettings]:
    seen = np.cumsum(~split.unseen) - 1  # classes trained on, numbered without the others
    everything = LabelledInputs(rows.inputs, seen[codes], rows.old)
    seen_held_out = split.held_out[~split.unseen[codes[split.held_out]]]
    settings = training_settings(upgrade.compatible)
    training = everything.take(split.training)
    preprocessing = preprocessing_for(
        architecture,
        training.inputs,
        image_size=upgrade.compatible.training.image_size,
        tokens=upgrade.compatible.training.tokens,
        backbones_dir=context.settings.backbones_dir,
    )
    trained = train_compatible(
        training,
        everything.take(seen_held_out),
        classes=int((~split.unseen).sum()),
        old=source,
        architecture=architecture,
        dimension=dimension,
        preprocessing=preprocessing,
        settings=settings,
        device=resolve(context.settings.device),
        folder=UpgradeArtifacts(context.settings.artifacts_dir, upgrade.id).training,
        backbones_dir=context.settings.backbones_dir,
        progress=context.progress,
    )
    return trained, preprocessing, settings


def training_settings(request: CompatibleUpgrade) -> TrainingSettings:
    """The settings that were asked for."""
    of_data = {"validation", "image_size", "tokens"}  # said of the data, not of the loop
    weights = request.instance_weights
    loop = {"method": request.method, **request.training.model_dump(exclude=of_data)}
    return TrainingSettings(
        instance_weights=None if weights is None else InstanceWeightSettings(**weights.model_dump()), **loop
    )
