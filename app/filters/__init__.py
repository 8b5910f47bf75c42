"""Filters: which items may be found. The language, and its evaluation over the items of a gallery."""

from app.filters.expression import has_empty_part
from app.filters.filtered_rows import FilteredRows
from app.filters.json_schema import IN_TEXT, with_filter
from app.filters.parsing import Filter, filter_of_body, filter_of_url
from app.filters.row_labels import UNLABELLED, RowLabels

__all__ = [
    "IN_TEXT",
    "UNLABELLED",
    "Filter",
    "FilteredRows",
    "RowLabels",
    "filter_of_body",
    "filter_of_url",
    "has_empty_part",
    "with_filter",
]
