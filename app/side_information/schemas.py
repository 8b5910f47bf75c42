"""Wire shapes of the side-information resource."""

from datetime import datetime
from typing import Annotated, Any

from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.ids import Line, ResourceId
from app.jobs.schemas import Progress
from app.registry.architectures import ArchitectureJson, ImageSize, Tokens, usual_image_size
from app.side_information.states import EncoderState
from app.validation import wrong
from models.portable import Architecture

DIMENSION = 128

EXAMPLES: dict[str, Example] = {
    "text": {
        "summary": "An encoder of texts",
        "value": {
            "id": "side-v1",
            "dataset": "pairs",
            "architecture": "small-bert",
            "dimension": 64,
            "training": {"epochs": 1, "batch": 64},
        },
    },
}


class EncoderTraining(BaseModel):
    """How the encoder is trained. What is left out is as SimCLR has it for images, and SimCSE for texts."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    epochs: Annotated[int | None, Field(ge=1, le=10_000, description="Left out: 40 of images, 10 of texts.")] = None
    batch: Annotated[
        int | None, Field(ge=4, le=65_536, description="A row is told from the others of its batch. Left out: 256.")
    ] = None
    learning_rate: Annotated[float | None, Field(gt=0, le=100)] = None
    weight_decay: Annotated[float | None, Field(ge=0, le=1)] = None
    warm_up_epochs: Annotated[float | None, Field(ge=0, le=1_000, description="Over which the rate rises.")] = None
    temperature: Annotated[float | None, Field(gt=0, le=100, description="Of the contrastive loss.")] = None
    held_out: Annotated[
        float | None, Field(ge=0, le=0.5, description="Share of the rows that only measure. Left out: 0.05.")
    ] = None
    patience: Annotated[
        int | None, Field(ge=1, description="Epochs without a smaller loss on those rows after which training ends.")
    ] = None
    least_area: Annotated[
        float | None, Field(gt=0, le=1, description="Share of an image that a view shows at least. Left out: 0.2.")
    ] = None
    mirrored: Annotated[
        bool | None, Field(description="Whether half the views are mirrored: not of digits. Left out: true.")
    ] = None
    colour_strength: Annotated[float | None, Field(ge=0, le=1, description="How far colours change.")] = None
    seed: Annotated[int | None, Field(ge=0, le=2**31 - 1)] = None
    workers: Annotated[int | None, Field(ge=0, le=64, description="Processes that decode; 0: none beside.")] = None
    image_size: ImageSize = None
    tokens: Tokens = 64


_OF_IMAGES = ("image_size", "least_area", "mirrored", "colour_strength")


class NewEncoder(BaseModel):
    """An encoder to be trained on raw inputs alone, whose vectors are stored beside another model's."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[ResourceId, Field(description="What the encoder is registered as, among the models.")]
    dataset: Annotated[
        ResourceId, Field(description="Its rows with an `image`, or a `text`; labels are not looked at.")
    ]
    architecture: ArchitectureJson
    dimension: Annotated[int, Field(strict=True, ge=1, le=65_536, description="Of the vectors.")] = DIMENSION
    description: Line | None = None
    training: EncoderTraining = Field(default_factory=EncoderTraining)

    @property
    def built(self) -> Architecture:
        return Architecture.from_json(self.architecture)

    @model_validator(mode="after")
    def _size_images(self) -> "NewEncoder":
        built, training = self.built, self.training
        if built.modality == "image":
            size = usual_image_size(built)
            training.image_size = training.image_size or size
            return self
        for name in _OF_IMAGES:
            if getattr(training, name) is not None:
                raise wrong(f"a text model is given no images: leave `{name}` out", "training", name)
        return self


class Encoder(BaseModel):
    """An encoder of side-information, and how its training stands."""

    id: str
    model: Annotated[str, Field(description="The model beside whose vectors its own are stored.")]
    dataset: str
    architecture: dict[str, Any]
    dimension: int
    training: EncoderTraining
    state: EncoderState
    progress: Progress | None
    reason: Annotated[str | None, Field(description="Why it failed, and what to do about it.")]
    learned: Annotated[
        dict[str, Any] | None, Field(description="How training went, epoch by epoch, and what it measured.")
    ]
    created_at: datetime
    updated_at: datetime
