"""What asks for a compatible upgrade: a new model trained so that its queries search the old galleries as they are."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.ids import Line, ResourceId
from app.registry.architectures import ArchitectureJson, ImageSize, Tokens, usual_image_size
from app.upgrades.request import UpgradeRequest
from app.validation import wrong
from models.portable import Architecture, Distance

PATIENT = 10
"""Epochs that training goes on at least without a better cross test."""


class NewTrainedModel(BaseModel):
    """The model that is to be trained, and registered when training starts."""

    model_config = ConfigDict(extra="forbid")

    id: ResourceId
    architecture: ArchitectureJson
    dimension: Annotated[
        int | None,
        Field(ge=1, le=65_536, description="At least the old model's; left out, the width of the architecture."),
    ] = None
    metric: Annotated[Distance | None, Field(description="The old model's, which it is compared like.")] = None
    modality: Annotated[
        Literal["image", "text"] | None, Field(description="What it embeds; the architecture says so.")
    ] = None
    description: Line | None = None

    @property
    def built(self) -> Architecture:
        return Architecture.from_json(self.architecture)

    @model_validator(mode="after")
    def _take_from_the_architecture(self) -> "NewTrainedModel":
        built = self.built
        if self.modality not in (None, built.modality):
            raise wrong(f"the architecture embeds {built.modality}; leave `modality` out", "modality")
        self.modality = built.modality
        self.dimension = self.dimension or built.width
        if self.dimension is None:
            raise wrong("only building this architecture tells how wide it is: give `dimension`", "dimension")
        return self


class TrainingOptions(BaseModel):
    """How the model is trained. The defaults are those of "Non-Inherent Feature Compatible Learning", §4."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 90
    batch: Annotated[int, Field(ge=2, le=65_536)] = 1024
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    schedule: Annotated[
        Literal["step", "one_cycle", "cosine"],
        Field(description="`step` divides the learning rate by ten every `decay_every` epochs."),
    ] = "step"
    decay_every: Annotated[int | None, Field(ge=1, description="Epochs; null: a third of them.")] = None
    warm_up_epochs: Annotated[float, Field(ge=0, le=1_000, description="Over which the rate rises from 0.")] = 0.0
    influence_weight: Annotated[float, Field(ge=0, le=1_000, description="λ of the influence loss.")] = 1.0
    damping: Annotated[float, Field(ge=0, lt=1, description="λ of the random walk.")] = 0.9
    temperature: Annotated[float, Field(gt=0, le=100, description="T of the random walk.")] = 0.1
    scale: Annotated[float, Field(gt=0, le=1_000, description="Of the logits, where the metric is cosine.")] = 16.0
    precision: Annotated[
        Literal["auto", "float32", "mixed"], Field(description="`auto` is mixed on a GPU that is faster so.")
    ] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    patience: Annotated[
        int | None,
        Field(
            ge=1,
            description="Epochs without a better cross test on the rows held out after which training ends and the "
            "best epoch's weights are kept; null: never, and the last epoch's are. Left out, a third of the epochs and "
            f"at least {PATIENT} with `step`, and null with the others, which gain most at their end.",
            json_schema_extra=lambda schema: schema.pop("default", None),
        ),
    ] = None
    validation: Annotated[
        float,
        Field(
            gt=0,
            le=0.5,
            description="Share of the dataset's rows that are not trained on: they say when to stop and, where no "
            "`evaluation` is given, they prove the model.",
        ),
    ] = 0.1
    image_size: ImageSize = None
    tokens: Tokens = 64
    workers: Annotated[int, Field(ge=0, le=64, description="Processes that decode; 0: none beside training.")] = 1

    @model_validator(mode="after")
    def _resolve(self) -> "TrainingOptions":
        if "patience" not in self.model_fields_set:
            self.patience = max(PATIENT, self.epochs // 3) if self.schedule == "step" else None
        return self


class InstanceWeights(BaseModel):
    """How the weights that every row has in each of the two losses move."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.2
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    warm_up: Annotated[int, Field(ge=0, le=10_000, description="Epochs in which they stay as they are.")] = 1


def _of_switch(value: object) -> object:
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


def _of_auto(value: str) -> str:
    return "random_walk" if value == "auto" else value


class CompatibleUpgrade(UpgradeRequest):
    """Trains a new model to be searched against the old model's galleries, which stay as they are."""

    to: NewTrainedModel
    strategy: Annotated[
        Literal["compatible"], Field(description="`compatible` trains a new model that lands in the old space.")
    ]
    method: Annotated[
        Literal["auto", "random_walk", "averaged_normalised", "averaged", "trained", "l2", "none"],
        AfterValidator(_of_auto),
        Field(
            description="The pseudo-classifier made of the old vectors; `auto` is `random_walk`. `l2` (regression to "
            "the old vectors) and `none` are baselines to compare with."
        ),
    ] = "random_walk"
    dataset: Annotated[
        ResourceId,
        Field(
            description="Rows with a label and an `image` or a `text`. A row without a vector of the old model takes "
            "it from the item of the same id in the galleries."
        ),
    ]
    evaluation: Annotated[
        ResourceId | None,
        Field(description="A dataset to judge on; left out, rows and whole classes of `dataset` are not trained on."),
    ] = None
    instance_weights: Annotated[
        InstanceWeights | None,
        BeforeValidator(_of_switch, json_schema_input_type=bool | InstanceWeights),
        Field(
            description="Learn how far to trust each row in each loss: finds wrong labels (GET /upgrades/{id}/rows). "
            "`true` takes the defaults."
        ),
    ] = None
    training: TrainingOptions = Field(default_factory=TrainingOptions)

    @property
    def target(self) -> str:
        return self.to.id

    @model_validator(mode="after")
    def _size_images(self) -> "CompatibleUpgrade":
        built, size = self.to.built, self.training.image_size
        if built.modality == "text" and size is not None:
            raise wrong("a text model is given no images: leave `image_size` out", "training", "image_size")
        if built.modality == "image" and size is None:
            self.training.image_size = usual_image_size(built)
        return self
