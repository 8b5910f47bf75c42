"""JSON lines: one row a line, otherwise what `json_rows` reads."""

from pathlib import Path
from typing import Any

from app.json_text import body_value, utf8
from app.problems import InvalidUpload
from app.uploads.expected_columns import Expected, UploadLimits
from app.uploads.json_rows import read_json
from app.uploads.offences import Offences
from app.uploads.raw import Raw


def read_ndjson(path: Path, expected: Expected, limits: UploadLimits, offences: Offences) -> Raw:
    """Reads a body of JSON lines. Raises InvalidUpload and TooLarge."""
    return read_json(path, expected, limits, offences, parse=_lines)


def _lines(body: bytes) -> list[Any]:
    # Split at line feeds alone: the other characters that end lines may stand in a JSON string.
    lines = enumerate(utf8(body, problem=InvalidUpload).split("\n"), start=1)
    return [
        body_value(line, f"body's line {number}", problem=InvalidUpload)
        for number, line in lines
        if line and not line.isspace()
    ]
