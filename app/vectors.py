"""What is true of every vector in the service, whoever made it."""

import math

LONGEST = 1e18
"""No vector may be longer: squared distances would leave float32."""

MODEL_KEY = b"crosswalk.model"
"""Of the metadata of a Parquet or Arrow file: the model that made the vectors of its column `embedding`."""


def largest_component(dimension: int) -> float:
    """A bound on the components of a vector that keeps it no longer than LONGEST."""
    return LONGEST / math.sqrt(dimension)
