"""JSON as editors and tools write it: marks, lines, numbers as labels; and Content-Type in its other spellings."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.problems import InvalidRows, InvalidUpload, TooLarge, Unprocessable, UnsupportedMediaType
from app.uploads import Expected
from app.uploads.media_types import (
    ARROW,
    ARROW_FILE,
    BULK,
    JSON,
    JUDGEMENTS,
    NDJSON,
    NPY,
    NPZ,
    PARQUET,
    QUERIES,
    TEXT,
    accepted,
    named,
)
from tests.app.uploads.conftest import LIMITS, Take, decoded

GALLERY = Expected.items(2)
ROWS = [{"id": "a", "embedding": [1, 0], "label": "x\u2028y"}, {"id": "b", "embedding": [0, 1], "label": None}]


def _stored(folder: Path, body: bytes, media_type: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = decoded(folder, body, media_type, GALLERY).to_pylist()
    return rows


@pytest.mark.parametrize("body", [ROWS, {"items": ROWS}])
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, body: Any) -> None:
    assert _stored(tmp_path, json.dumps(body).encode("utf-8-sig"), JSON) == ROWS


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("media_type", [JSON, NDJSON])
def test_another_encoding_is_refused_by_name(tmp_path: Path, encoding: str, media_type: str) -> None:
    with pytest.raises(InvalidUpload, match=f"is in {encoding[:6].upper()}; JSON is sent in UTF-8"):
        _stored(tmp_path, json.dumps(ROWS).encode(encoding), media_type)


@pytest.mark.parametrize(
    ("media_type", "body", "pointer"),
    [
        (JSON, '[{"id": "a"}, {"id": "b", "embedding": [1, 0], "id": "c"}]', "/1/id"),
        (JSON, '{"items": [{"id": "a", "payload": {"x": [{"y": 1, "y": 1}]}}]}', "/items/0/payload/x/0/y"),
        (NDJSON, '{"id": "a"}\n{"id": "b", "label": "x", "label": "y"}', "/label"),
    ],
)
def test_a_member_given_twice_is_named_as_in_every_other_body(
    tmp_path: Path, media_type: str, body: str, pointer: str
) -> None:
    with pytest.raises(Unprocessable, match="is given twice") as refused:
        _stored(tmp_path, body.encode(), media_type)
    assert [error["pointer"] for error in refused.value.members["errors"]] == [pointer]


@pytest.mark.parametrize("member", ["id", "label", "payload"])
@pytest.mark.parametrize("text", ["a\0", "a\ud83d"])
def test_what_is_no_text_is_refused_in_every_member(tmp_path: Path, member: str, text: str) -> None:
    for value in ({"x": [text]}, {text: 1}) if member == "payload" else (text,):
        rows = [{"id": "a", "embedding": [1, 0]} | {member: value}]
        with pytest.raises(InvalidRows, match=r"NUL character|half a character"):
            _stored(tmp_path, json.dumps(rows).encode(), JSON)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n \n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_are_rows_however_they_end(tmp_path: Path, end: str, mark: bytes) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in ROWS]
    for text in (end.join(lines), end.join(lines) + end):
        assert _stored(tmp_path, mark + text.encode(), NDJSON) == ROWS


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    first = json.dumps(ROWS[0]).encode()
    with pytest.raises(InvalidUpload, match="The body's line 3 is not valid JSON"):
        _stored(tmp_path, first + b"\n\n{", NDJSON)
    with pytest.raises(InvalidUpload, match="Row 1 of the JSON body is a list"):
        _stored(tmp_path, first + b"\n[1]", NDJSON)
    with pytest.raises(InvalidUpload, match="One object a line is sent as application/x-ndjson"):
        _stored(tmp_path, first + b"\n" + first, JSON)
    with pytest.raises(TooLarge, match="10001 rows"):
        _stored(tmp_path, b"{}\n" * (LIMITS.rows + 1), NDJSON)


def test_lines_are_taken_from_a_request(take: Take) -> None:
    body = "\n".join(json.dumps(row) for row in ROWS).encode()
    assert take(body, "application/jsonl; charset=utf-8", GALLERY).to_pylist() == ROWS


@pytest.mark.parametrize(
    ("label", "stored"),
    [(7, "7"), (7.0, "7"), (-0.0, "0"), (float("nan"), None), (True, "true"), (False, "false"), (10**30, str(10**30))],
)
def test_labels_that_are_no_strings_are_taken_as_in_every_format(
    tmp_path: Path, label: Any, stored: str | None
) -> None:
    body = json.dumps([{"id": "a", "embedding": [1, 0], "label": label}]).encode()
    assert _stored(tmp_path, body, JSON)[0]["label"] == stored


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (7.5, "is 7.5; a number as a label is a whole number"),
        (float("inf"), "is inf; a number as a label is a whole number"),
        (1e300, "too large to be told from its neighbours"),
        (["x"], "is a list; labels are strings, whole numbers or booleans"),
    ],
)
def test_labels_without_one_meaning_are_refused(tmp_path: Path, label: Any, message: str) -> None:
    body = json.dumps([{"id": "a", "embedding": [1, 0], "label": label}]).encode()
    with pytest.raises(InvalidRows, match=message):
        _stored(tmp_path, body, JSON)


def test_embeddings_that_say_nothing_or_are_of_an_item_are_refused(tmp_path: Path) -> None:
    rows = json.dumps([{"id": "a", "embeddings": None}]).encode()
    with pytest.raises(InvalidUpload, match=r"is null; .* To clear one, send null for its model"):
        decoded(tmp_path, rows, JSON, Expected.rows({"m": 2}))
    items = json.dumps([{"id": "a", "embeddings": {"m": [1, 0]}}]).encode()
    with pytest.raises(InvalidUpload, match=r"Row 0 has `embeddings`.* an item takes `embedding`"):
        _stored(tmp_path, items, JSON)


@pytest.mark.parametrize(
    ("spelling", "media_type"),
    [
        ("application/parquet", PARQUET),
        ("Application/X-Parquet", PARQUET),
        (" application/vnd.apache.parquet ; version=2", PARQUET),
        ("application/x-apache-arrow-stream", ARROW),
        ("application/vnd.apache.arrow.file", ARROW_FILE),
        ("application/x-numpy", NPY),
        ("application/npz", NPZ),
        ("TEXT/JSON;charset=UTF-8", JSON),
        ("application/vnd.api+json", JSON),
        ("application/x-jsonlines", NDJSON),
        ("text/plain", TEXT),
        ("text/x-unknown", None),
        ("nonsense", None),
        ("", None),
        (None, None),
    ],
)
def test_media_types_are_known_in_other_spellings(spelling: str | None, media_type: str | None) -> None:
    assert named(spelling) == media_type
    taken = next((taken for taken in (BULK, QUERIES, JUDGEMENTS) if media_type in taken), QUERIES)
    if media_type is None:
        with pytest.raises(UnsupportedMediaType, match="Send one of application/vnd"):
            accepted(spelling, BULK)
    else:
        assert accepted(spelling, taken) == media_type
