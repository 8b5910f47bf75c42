"""pandas writes a table's index as a column, and says which in the schema's metadata."""

import json
import re

import pyarrow as pa

_UNNAMED = re.compile(r"__index_level_\d+__")


def index_columns(schema: pa.Schema) -> set[str]:
    """The columns that are an index to pandas: unnamed ones by their name, others by the metadata, if readable."""
    unnamed = {name for name in schema.names if _UNNAMED.fullmatch(name)}
    return unnamed | {name for name in _told(schema) if name in schema.names}


def _told(schema: pa.Schema) -> list[str]:
    try:
        told = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    except (ValueError, RecursionError):
        return []
    columns = told.get("index_columns") if isinstance(told, dict) else None
    return [name for name in columns if isinstance(name, str)] if isinstance(columns, list) else []
