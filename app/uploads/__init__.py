"""Hostile bytes → validated Arrow batches. What is wrong with a body is found here; inside, rows are trusted."""

from app.uploads.expected_columns import Expected, UploadLimits
from app.uploads.intake import Uploads
from app.uploads.queries import QueryVectors, decode_query_vector, refuse_zero_queries, vectors_of_lists
from app.uploads.rows import UploadedRows

__all__ = [
    "Expected",
    "QueryVectors",
    "UploadLimits",
    "UploadedRows",
    "Uploads",
    "decode_query_vector",
    "refuse_zero_queries",
    "vectors_of_lists",
]
