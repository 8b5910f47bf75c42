"""Ids that users choose: they read well in a URL, and sort."""

from typing import Annotated

from fastapi import Path
from pydantic import StringConstraints

from app.id_pattern import ID_PATTERN

ResourceId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""The id of a model, gallery or dataset in a body or a query."""

ModelId = Annotated[ResourceId, Path(description="A model's id.", examples=["tfidf-v1"])]
GalleryId = Annotated[ResourceId, Path(description="A gallery's id.", examples=["faq"])]
DatasetId = Annotated[ResourceId, Path(description="A dataset's id.", examples=["pairs"])]
"""A model's id as a path parameter. The examples are what the documentation's examples register."""

Line = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
"""Free text. PostgreSQL cannot store the NUL character."""
