"""Every hostile body is refused with its problem; what grows too large meets the decoder's limits."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from app.forking.forked_process import ForkServer
from app.problems import InvalidRows, InvalidUpload, TooLarge
from app.uploads.guard import decode_guarded
from app.uploads.media_types import ARROW, JSON, PARQUET
from benchmarks.hostile_files import (
    EXPECTED,
    HOSTILE,
    MIB,
    Hostile,
    equal_rows,
    huge_cell_arrow,
    huge_cell_parquet,
    items,
    parquet,
)
from benchmarks.hostile_files import arrow as arrow_stream
from benchmarks.hostile_files import table as valid_rows
from tests.app.uploads.conftest import LIMITS, Take, decoded

# A GiB takes seconds to write. The same bombs, at a size that is, meet a decoder of the same shape below.
_QUICK = [hostile for hostile in HOSTILE if not hostile.name.endswith("a cell of 1 GiB")]
_TIGHT = replace(LIMITS, memory_bytes=64 * MIB, decoded_bytes=2**32)


@pytest.fixture(params=["forked", "spawned"])
def decoders(request: pytest.FixtureRequest, forks: ForkServer | None) -> ForkServer | None:
    """Both ways that a decoder comes to be."""
    return forks if request.param == "forked" else None


@pytest.mark.parametrize("hostile", _QUICK, ids=lambda hostile: hostile.name)
def test_hostile_body_is_refused_with_its_problem(hostile: Hostile, take: Take) -> None:
    with pytest.raises(hostile.problem) as refused:
        take(hostile.make(), hostile.media_type, EXPECTED)
    assert type(refused.value) is hostile.problem
    assert len(refused.value.detail) > 20
    json.dumps(refused.value.to_json()).encode()


@pytest.mark.parametrize("rows", [valid_rows(0), valid_rows(1), valid_rows(100)], ids=["none", "one", "hundred"])
@pytest.mark.parametrize("media_type", [PARQUET, ARROW])
def test_rows_that_hostile_bodies_are_made_from_are_taken(media_type: str, rows: pa.Table, take: Take) -> None:
    body = parquet(rows) if media_type == PARQUET else arrow_stream(rows)
    assert take(body, media_type, EXPECTED).num_rows == rows.num_rows


@pytest.mark.parametrize("media_type", [PARQUET, ARROW])
def test_page_that_inflates_beyond_the_decoders_memory_is_too_large(
    media_type: str, tmp_path: Path, decoders: ForkServer | None
) -> None:
    body = tmp_path / "body"
    body.write_bytes((huge_cell_parquet if media_type == PARQUET else huge_cell_arrow)(128 * MIB))
    assert body.stat().st_size < MIB
    with pytest.raises(TooLarge, match="memory"):
        decode_guarded(body, media_type, EXPECTED, _TIGHT, tmp_path / "rows", decoders)
    with pytest.raises(InvalidRows, match="134217736 bytes"):
        decode_guarded(body, media_type, EXPECTED, replace(_TIGHT, memory_bytes=2**30), tmp_path / "rows", decoders)


def test_decoding_that_takes_too_long_is_stopped(tmp_path: Path, decoders: ForkServer | None) -> None:
    body = tmp_path / "body"
    body.write_bytes(parquet(equal_rows(9_000_000)))
    assert body.stat().st_size < MIB
    # By the kernel's count of its processor time or, where other work kept it from that, by the clock.
    limits = replace(LIMITS, rows=10**7, decoded_bytes=2**32, base_seconds=1)
    with pytest.raises(TooLarge, match="Decoding the body took"):
        decode_guarded(body, PARQUET, EXPECTED, limits, tmp_path / "rows", decoders)


def test_decoding_writes_no_more_than_it_may(tmp_path: Path, decoders: ForkServer | None) -> None:
    body = tmp_path / "body"
    body.write_bytes(items(rows=5000))
    limits = replace(LIMITS, decoded_bytes=1000, rows=100_000)
    with pytest.raises(TooLarge, match="Decoded"):
        decode_guarded(body, JSON, EXPECTED, limits, tmp_path / "rows", decoders)


def test_body_with_more_rows_than_taken_is_too_large_in_every_format(tmp_path: Path) -> None:
    few = replace(LIMITS, rows=99)
    for body, media_type in ((items(), JSON), (parquet(valid_rows()), PARQUET), (arrow_stream(valid_rows()), ARROW)):
        with pytest.raises(TooLarge, match="99"):
            decoded(tmp_path, body, media_type, EXPECTED, few)


def test_only_the_first_ten_offending_cells_are_told(tmp_path: Path) -> None:
    changes = [{"embedding": [row, float("nan"), 0, 0], "label": 1.5} for row in range(40)]
    with pytest.raises(InvalidRows) as refused:
        decoded(tmp_path, items(*changes), JSON, EXPECTED)
    errors = refused.value.members["errors"]
    assert [(error["row"], error["column"]) for error in errors] == [
        (row, column) for row in range(60, 65) for column in ("embedding", "label")
    ]
    assert errors[0] == {
        "row": 60,
        "id": "item-60",
        "column": "embedding",
        "message": "holds NaN, first at position 1",
    }


def test_empty_body_is_refused(tmp_path: Path) -> None:
    for media_type in (JSON, PARQUET, ARROW):
        with pytest.raises(InvalidUpload, match="empty"):
            decoded(tmp_path, b"", media_type, EXPECTED)
