"""What is true of every vector in the service, whoever made it."""

import math

LONGEST = 1e18
"""No vector may be longer: squared distances would leave float32."""


def largest_component(dimension: int) -> float:
    """A bound on the components of a vector that keeps it no longer than LONGEST."""
    return LONGEST / math.sqrt(dimension)
