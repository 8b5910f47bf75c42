"""The query parameter by which a request says that its vectors are not to be judged."""

from typing import Annotated

from fastapi import Query

from app.spaces.guard import SpaceCheck

AskedSpaceCheck = Annotated[
    SpaceCheck,
    Query(description="`unchecked`: stores the vectors as this model's even where they do not look like it."),
]
"""What a bulk upsert takes as `space`."""
