"""`crosswalk apply`, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import app
from app.cli.command import commands
from app.vectors import MODEL_KEY
from models.portable import Array, Distance, PortableCrossing, crossing_bytes
from tests.models.portable.crossings_to_take import NEW, OLD, SIDE, crossings, normal, taken
from tests.models.portable.hostile_crossings import opened, sealed
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(app.__file__).parent.parent
ROWS = 50


def lists(rows: Array, type_: Any = None) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel(), type_), rows.shape[1])


class Desk:
    """A folder with a crossing, and files of vectors that are written there."""

    def __init__(self, folder: Path, kind: str = "affine", metric: Distance = "cosine") -> None:
        self.crossing: PortableCrossing = taken(crossings(metric)[kind])
        self.artifact, self.source, self.out = (
            folder / name for name in ("a.safetensors", "in.parquet", "out.parquet")
        )
        self.artifact.write_bytes(crossing_bytes(self.crossing))
        self.old = normal(1, ROWS, OLD)

    def write(self, columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None, **options: Any) -> None:
        ids = {"id": pa.array([f"item-{n}" for n in range(ROWS)])}
        pq.write_table(pa.table(ids | columns).replace_schema_metadata(metadata), self.source, **options)

    def apply(self, *options: object) -> Result:
        return CliRunner().invoke(commands, ["apply", *map(str, (self.artifact, self.source, self.out, *options))])

    def done(self, *options: object) -> Any:
        answer = self.apply(*options)
        assert answer.exit_code == 0, answer.output
        return pq.read_table(self.out)

    def refused(self, *options: object) -> str:
        answer = self.apply(*options)
        assert answer.exit_code == 2, answer.output
        assert isinstance(answer.exception, SystemExit)
        assert len(answer.output.splitlines()) == 1
        assert not self.out.exists()
        return " ".join(answer.output.split())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def rows_of(table: Any, name: str) -> Array:
    return np.asarray(table.column(name).to_pylist(), np.float32)


def test_old_vectors_become_new_ones_and_all_else_is_carried_along(desk: Desk) -> None:
    payload = pa.array([{"n": n, "tags": [str(n)]} for n in range(ROWS)])
    desk.write({"embedding.old": lists(desk.old), "payload": payload}, row_group_size=7)
    table = desk.done()
    assert table.schema.names == ["id", "embedding.new", "payload"]
    assert table.schema.field("embedding.new").type == pa.list_(pa.float32(), NEW)
    np.testing.assert_array_equal(rows_of(table, "embedding.new"), desk.crossing.apply(desk.old, made_by="old"))
    assert table.column("payload").to_pylist() == payload.to_pylist()
    assert table.column("id")[3].as_py() == "item-3"
    assert table.schema.metadata == {MODEL_KEY: b"new", b"crosswalk.upgrade": b"upg-1"}


@pytest.mark.parametrize("type_", [pa.float16(), pa.float32(), pa.float64()])
def test_vectors_are_taken_in_every_precision_and_as_any_list(desk: Desk, type_: Any) -> None:
    given = desk.old.astype(type_.to_pandas_dtype())
    expected = desk.crossing.apply(given.astype(np.float32), made_by="old")
    column = lists(given, type_)
    for kind in (column.type, pa.list_(type_), pa.large_list(type_)):
        desk.write({"embedding": column.cast(kind)})
        table = desk.done("--made-by", "old", "--force")
        np.testing.assert_array_equal(rows_of(table, "embedding"), expected)


def test_the_file_that_was_written_says_whose_vectors_it_holds(desk: Desk, tmp_path: Path) -> None:
    desk.write({"embedding": lists(desk.old)}, {MODEL_KEY: b"old"})
    assert desk.done().schema.metadata[MODEL_KEY] == b"new"
    desk.source, desk.out = desk.out, tmp_path / "twice.parquet"
    assert "model 'old', not 'new'. It leads to that model" in desk.refused()


def test_queries_are_pushed_with_what_their_scores_need(desk: Desk) -> None:
    queries = normal(3, ROWS, NEW)
    desk.write({"embedding.new": lists(queries)})
    table, pushed = desk.done("--push"), desk.crossing.push(queries, made_by="new")
    assert table.schema.names == ["id", "pushed", "score_scale", "score_offset"]
    np.testing.assert_array_equal(rows_of(table, "pushed"), pushed.queries)
    np.testing.assert_array_equal(table.column("score_offset").to_numpy(), pushed.offset)
    assert set(table.column("score_scale").to_pylist()) == {pushed.scale}
    assert (table.schema.metadata[b"crosswalk.search"], table.schema.metadata[b"crosswalk.index_of"]) == (b"ip", b"old")


def test_side_information_is_read_where_there_is_some(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "everything")
    side, known = normal(4, ROWS, SIDE), np.arange(ROWS) % 3 > 0
    beside = pa.array(
        [row.tolist() if has else None for row, has in zip(side, known, strict=True)], pa.list_(pa.float32(), SIDE)
    )
    desk.write({"embedding.old": lists(desk.old), "side_information": beside})
    table = desk.done()
    np.testing.assert_array_equal(
        rows_of(table, "embedding.new"), desk.crossing.apply(desk.old, side, known, made_by="old")
    )
    assert "17 of them without side-information" in desk.apply("--force").output


def test_vectors_of_another_model_are_refused(desk: Desk) -> None:
    desk.write({"embedding": lists(desk.old)})
    assert "does not say which model" in desk.refused()
    assert "model 'old', not 'other'" in desk.refused("--made-by", "other")
    desk.write({"embedding.new": lists(normal(1, ROWS, NEW))})
    assert "no column 'embedding.old' or 'embedding'" in desk.refused()
    assert "It leads to that model" in desk.refused("--column", "embedding.new")
    desk.write({"embedding.old": lists(desk.old)})
    assert "made by model 'old', and not by 'other'" in desk.refused("--made-by", "other")
    assert "pushes queries of model 'new', not 'old'" in desk.refused("--push", "--column", "embedding.old")


def test_what_are_no_vectors_of_the_model_is_refused_with_the_rows_named(desk: Desk) -> None:
    desk.write({"embedding.old": lists(normal(1, ROWS, OLD + 1))})
    assert f"have {OLD + 1} numbers, and old ({OLD}-d, cosine) has {OLD}" in desk.refused()
    broken = desk.old.copy()
    broken[[7, 40], 2] = np.nan, np.inf
    desk.write({"embedding.old": lists(broken)}, row_group_size=9)
    assert "NaN, an infinity, or a number beyond float32 in 2 of 50 rows: rows 7, 40, from 0" in desk.refused()
    ragged = [row.tolist() for row in desk.old]
    ragged[5] = ragged[5][:-1]
    desk.write({"embedding.old": pa.array(ragged, pa.list_(pa.float32()))})
    assert f"not of {OLD} numbers in 1 of 50 rows: rows 5" in desk.refused()
    desk.write({"embedding.old": pa.array([*ragged[:5], None, *ragged[6:]], pa.list_(pa.float32(), OLD))})
    assert "has no vector in 1 of 50 rows: rows 5" in desk.refused()
    desk.write(
        {"embedding.old": pa.array([[None] * OLD, *ragged[:4], *ragged[6:], *ragged[:1]], pa.list_(pa.float32()))}
    )
    assert "with null in them in 1 of 50 rows: rows 0" in desk.refused()
    desk.write({"embedding.old": pa.array(["text"] * ROWS)})
    assert "holds string" in desk.refused()


def test_no_file_that_is_there_is_written_over_unasked(desk: Desk) -> None:
    desk.write({"embedding.old": lists(desk.old)})
    desk.out.write_bytes(b"precious")
    answer = desk.apply()
    assert answer.exit_code == 2
    assert "--force writes over it" in answer.output
    assert desk.out.read_bytes() == b"precious"
    desk.write({"embedding.old": lists(normal(1, ROWS, OLD + 1))})
    assert desk.apply("--force").exit_code == 2
    assert desk.out.read_bytes() == b"precious"
    for out, why in ((desk.source, "is the file that is read"), (desk.artifact, "is the crossing")):
        desk.out, before = out, out.read_bytes()
        answer = desk.apply("--force")
        assert (answer.exit_code, why in answer.output) == (2, True)
        assert out.read_bytes() == before
    assert {path.name for path in desk.source.parent.iterdir()} == {"a.safetensors", "in.parquet", "out.parquet"}


def test_damaged_files_are_told_from_sound_ones(desk: Desk) -> None:
    desk.source.write_bytes(b"PAR1 and no more")
    assert "cannot be read as Parquet" in desk.refused()
    desk.write({"embedding.old": lists(desk.old)})
    desk.artifact.write_bytes(desk.artifact.read_bytes()[:-1])
    assert "no crossing that can be used" in desk.refused()


def test_what_is_no_file_is_not_written_over(desk: Desk) -> None:
    """A device would be lost, and every other program that writes to it would fill the disk."""
    desk.write({"embedding.old": lists(desk.old)})
    os.mkfifo(desk.out)
    assert "is no file" in desk.apply("--force").output
    assert desk.out.is_fifo()


def test_a_hostile_crossing_is_refused_in_one_line(desk: Desk) -> None:
    desk.write({"embedding.old": lists(desk.old)})
    card, arrays = opened("affine")
    hostile = {"upgrade": "\x1b[2J\n"}, {"\n\x1b[2J": 1, "format": 2}, {"parts": {"\x1b[2J": {"\x1b[2J": 1}}}
    for wrong in (*(card | part for part in hostile), "no card"):
        desk.artifact.write_bytes(sealed(wrong, arrays))
        told = desk.refused()
        assert "no crossing that can be used" in told
        assert told.isprintable()
    desk.artifact.write_bytes(sealed(card, arrays | {"chosen.affine.bias": np.full(NEW, np.inf, np.float32)}))
    assert "not finite" in desk.refused()


def test_rows_that_the_crossing_takes_beyond_float32_are_named(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "affine", "l2")
    desk.old[[3, 44]] = 3e38
    desk.write({"embedding.old": lists(desk.old)}, row_group_size=20)
    assert "beyond what float32 holds in 2 of 50 rows: rows 3, 44, from 0" in desk.refused()


def test_columns_of_one_name_are_carried_along_and_are_no_vectors(desk: Desk) -> None:
    columns = [lists(desk.old), pa.array(range(ROWS)), pa.array(["b"] * ROWS)]
    pq.write_table(pa.Table.from_arrays(columns, names=["embedding.old", "note", "note"]), desk.source)
    assert desk.apply().exit_code == 0
    table = pq.ParquetFile(desk.out).read()
    assert table.schema.names == ["embedding.new", "note", "note"]
    assert [table.column(number)[2].as_py() for number in (1, 2)] == [2, "b"]
    pq.write_table(pa.Table.from_arrays(columns[:1] * 2, names=["embedding.old"] * 2), desk.source)
    assert "2 columns 'embedding.old'" in desk.apply("--force").output


def test_a_full_disk_and_a_signal_leave_what_was_there(desk: Desk) -> None:
    pq.write_table(pa.table({"embedding.old": lists(normal(1, 100_000, OLD))}), desk.source)
    desk.out.write_bytes(b"precious")
    before = {path.name for path in desk.out.parent.iterdir()}
    little_room = ["sh", "-c", 'ulimit -f 2048 && exec "$@"', "sh"]
    ended_before_it_is_whole = (
        "import os, signal, sys; from app.cli import main\n"
        "def hook(event, given):\n"
        "    if event == 'open' and '.partial' in str(given[0]): os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.addaudithook(hook); main()"
    )
    arguments = ["apply", desk.artifact, desk.source, desk.out, "--force"]
    for command, status, told in (
        ([*little_room, sys.executable, "-m", "app.cli"], 1, "File too large. Nothing was written.\n"),
        ([sys.executable, "-c", ended_before_it_is_whole], 128 + signal.SIGTERM, ""),
    ):
        done = subprocess.run(
            [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
        assert (done.returncode, done.stderr.count("\n")) == (status, told.count("\n")), done.stderr
        assert done.stderr.endswith(told)
        assert desk.out.read_bytes() == b"precious"
        assert {path.name for path in desk.out.parent.iterdir()} == before


def test_a_file_without_rows_becomes_one_without_rows(desk: Desk) -> None:
    empty = pa.table({"embedding.old": pa.array([], pa.list_(pa.float32(), OLD))})
    pq.write_table(empty, desk.source)
    assert desk.done().num_rows == 0


def test_the_command_waits_for_no_library_of_the_service(desk: Desk) -> None:
    desk.write({"embedding.old": lists(desk.old)})
    program = (
        "import json, sys; from app.cli import main\n"
        "try: main()\n"
        "finally: print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    arguments = ["apply", desk.artifact, desk.source, desk.out]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    told, imported = done.stdout.strip().splitlines()
    assert told == f"{ROWS} vectors of old are vectors of new in {desk.out}."
    assert not set(json.loads(imported)) & {"torch", "fastapi", "sqlalchemy", "celery", "lance", "scipy", "onnx"}
