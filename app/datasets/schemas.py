"""Wire shapes of the datasets resource."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.galleries.schemas import SideInformation
from app.ids import ResourceId


class NewDataset(BaseModel):
    """The body that registers a dataset."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"id": "pairs", "side_information": {"dimension": 2}}]}
    )

    id: ResourceId
    side_information: SideInformation | None = None
    description: Annotated[str | None, Field(max_length=2000)] = None


class QueryCounts(BaseModel):
    """How many queries a dataset holds apart from its rows."""

    count: int
    judged: Annotated[int, Field(description="Queries with relevant items.")]
    embeddings: Annotated[dict[str, int], Field(description="Queries with a vector, by the model that made it.")]


class Dataset(NewDataset):
    """A dataset as it is now."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={})

    rows: Annotated[int, Field(description="How many rows there are.")]
    labelled: Annotated[int, Field(description="Rows with a label.")]
    embeddings: Annotated[dict[str, int], Field(description="Rows with a vector, by the model that made it.")]
    queries: Annotated[QueryCounts, Field(description="The queries that were put apart from the rows.")]
    created_at: datetime
