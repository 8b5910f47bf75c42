"""What the approximate structures have in common in how they use FAISS."""

from collections.abc import Iterator

from app.faiss_library import faiss
from models.portable import Distance

CHUNK = 65_536  # rows added at once


def faiss_metric(score: Distance) -> int:
    """FAISS's number of a distance; cosine is the inner product of unit vectors."""
    return int(faiss.METRIC_L2 if score == "l2" else faiss.METRIC_INNER_PRODUCT)


def rising(first: int, last: int) -> Iterator[int]:
    """first … last in steps of about 1.4."""
    effort = first
    while effort < last:
        yield effort
        effort = max(effort + 1, round(effort * 1.4))
    yield last
