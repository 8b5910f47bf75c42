"""Wire shapes of the guard of spaces."""

from typing import Annotated

from pydantic import BaseModel, Field


class SuspectItems(BaseModel):
    """Items of a gallery whose vectors do not seem to be of the model that they are stamped with."""

    count: Annotated[int, Field(description="How many look more like another model's than like their own.")]
    low: Annotated[int, Field(description="At least so many are another model's (95 %).")]
    high: Annotated[int, Field(description="At most so many are (95 %).")]
    ids: Annotated[list[str], Field(description="The first of them.")]
    likely_model: Annotated[str | None, Field(description="The model that they look like, where it is known here.")]
    position: Annotated[float, Field(description="0: as the gallery's other vectors look. 1: nothing to do with them.")]


class Diagnosis(BaseModel):
    """What a model's vectors in a gallery look like."""

    model: str
    items: Annotated[int, Field(description="Items with a vector of this model.")]
    judged: Annotated[
        bool, Field(description="False: too few, or nothing is characteristic of them, so that nothing is said.")
    ]
    suspects: SuspectItems | None
    finding: Annotated[str, Field(description="What was found, and what to do, in words.")]


class DoctorReport(BaseModel):
    """Whether the vectors of a gallery are of the models that they are stamped with."""

    gallery: str
    healthy: Annotated[bool | None, Field(description="Nothing suspicious was found. `null`: nothing could be judged.")]
    models: list[Diagnosis]
