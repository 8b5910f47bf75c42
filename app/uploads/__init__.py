"""Hostile bytes → validated Arrow batches. What is wrong with a body is found here; inside, rows are trusted."""

from app.uploads.expected import Expected, Limits
from app.uploads.intake import Uploads
from app.uploads.queries import decode_query_vector, refuse_zero_queries, vectors_of_lists
from app.uploads.rows import Rows

__all__ = [
    "Expected",
    "Limits",
    "Rows",
    "Uploads",
    "decode_query_vector",
    "refuse_zero_queries",
    "vectors_of_lists",
]
