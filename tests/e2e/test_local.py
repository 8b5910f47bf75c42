"""An upgrade from files alone, as a job of continuous integration runs it: `crosswalk local`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.demo.digits import Digits, Images, load
from models.portable import Array, load_crossing
from tests.e2e.studio import lists
from tests.e2e.user import cosine_ranking
from tests.waiting import PATIENCE_SECONDS
from workers.local.files import QueryFile, VectorFile, WrongFile
from workers.local.run import LocalUpgrade, run


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load()


@pytest.fixture
def files(tmp_path: Path, digits: Digits) -> tuple[Path, Path]:
    """The gallery by the old model, and 300 of its items by the new one."""
    gallery, some = digits.gallery, slice(0, 300)
    old, sample = tmp_path / "old.parquet", tmp_path / "sample.parquet"
    table = items(gallery.id, digits.old(gallery.pixels), label=gallery.label.astype(str).tolist())
    pq.write_table(table.append_column("shelf", pa.array(range(len(gallery.id)))), old)
    pq.write_table(items(gallery.id[some], digits.new(gallery.pixels[some])), sample)
    return old, sample


def items(ids: Sequence[str], vectors: Array, **columns: Sequence[str]) -> pa.Table:
    return pa.table({"id": list(ids), "embedding": lists(np.ascontiguousarray(vectors, np.float32)), **columns})


def crosswalk(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", "local", *map(str, arguments)]
    temporary = cwd / "temporary"
    temporary.mkdir(exist_ok=True)
    environment = os.environ | {"TMPDIR": str(temporary), "CROSSWALK_DATABASE_URL": "postgresql://nobody@[::1]:1/none"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert not list(temporary.glob("crosswalk*"))
    return done


def right(queries: Images, by: Array, gallery: pa.Table) -> float:
    """The share of queries whose nearest row has their label."""
    vectors = np.stack(gallery.column("embedding").to_pylist())
    labels = dict(zip(gallery.column("id").to_pylist(), gallery.column("label").to_pylist(), strict=True))
    nearest = cosine_ranking(labels.keys(), vectors, by, 1)
    return float(np.mean([labels[ids[0]] == str(label) for ids, label in zip(nearest, queries.label, strict=True)]))


def test_what_is_accepted_is_written_transformed_with_artifact_and_report(
    files: tuple[Path, Path], tmp_path: Path, digits: Digits
) -> None:
    out = tmp_path / "out"
    done = crosswalk(*files, "--out", out, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["accepted"]
    assert (told["pairs"], told["written"]["transformed.parquet"]) == (300, str(out / "transformed.parquet"))

    old, transformed = pq.read_table(files[0]), pq.read_table(out / "transformed.parquet")
    for column in ("id", "label", "shelf"):
        assert transformed.column(column) == old.column(column)
    queries = digits.queries
    before, after = (
        right(queries, digits.old(queries.pixels), old),
        right(queries, digits.new(queries.pixels), transformed),
    )
    assert after > before + 0.05
    report = json.loads((out / "report.json").read_text())
    assert report["galleries"]["gallery"]["reason"] == told["reason"]
    page = (out / "report.html").read_text()
    assert told["recommendation"]["sentence"] in page
    assert "<svg" in page

    taken = load_crossing(out / "crossing.safetensors")
    vectors = np.stack(old.column("embedding").to_pylist()).astype(np.float32)
    written = np.stack(transformed.column("embedding").to_pylist())
    np.testing.assert_allclose(taken.apply(vectors, made_by="old"), written, rtol=1e-5, atol=1e-6)
    assert taken.scores is not None


def test_what_is_rejected_ends_with_a_status_of_its_own_and_without_transformed_vectors(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    old, sample = files
    table = pq.read_table(sample)
    shuffled = table.column("id").take(pa.array(np.random.default_rng(0).permutation(len(table))))
    pq.write_table(table.set_column(0, "id", shuffled), sample)
    out = tmp_path / "out"
    out.mkdir()
    (out / "transformed.parquet").write_bytes(b"of an earlier run")
    done = crosswalk(old, sample, "--out", out, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("Rejected.")
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json"]


def judged(digits: Digits) -> pa.Table:
    """The digits' queries, to each of which every item of its label is relevant."""
    queries, gallery = digits.queries, digits.gallery
    relevant = [
        [id for id, label in zip(gallery.id, gallery.label, strict=True) if label == one] for one in queries.label
    ]
    return pa.table(
        {
            "id": queries.id,
            "relevant": pa.array(relevant, pa.list_(pa.string())),
            "embedding.old": lists(digits.old(queries.pixels)),
            "embedding.new": lists(digits.new(queries.pixels)),
        }
    )


def test_judged_queries_judge_where_there_are_no_labels(
    files: tuple[Path, Path], tmp_path: Path, digits: Digits
) -> None:
    pq.write_table(judged(digits), tmp_path / "queries.parquet")
    pq.write_table(pq.read_table(files[0]).drop_columns(["label"]), files[0])
    gate = {"metric": "ndcg@10", "require": "better_than_old"}
    asked = LocalUpgrade(*files, tmp_path / "queries.parquet", ("cosine", "cosine"), "ridge", gate)
    verdict = run(asked, tmp_path / "out", lambda line: None)
    assert verdict.accepted, verdict.reason
    assert verdict.report["galleries"]["gallery"]["judged"]["queries_counted"] == len(digits.queries.id)


def test_queries_that_nothing_can_be_judged_by_are_not_passed_over(
    files: tuple[Path, Path], tmp_path: Path, digits: Digits
) -> None:
    """Labels would judge in their place, which was not asked for."""
    table, path = judged(digits), tmp_path / "queries.parquet"
    unknown = pa.array([["nobody"]] * len(table), pa.list_(pa.string()))
    for wrong, expected in (
        (table.slice(0, 0), "no rows"),
        (table.slice(0, 5), "5 of its queries are such"),
        (table.set_column(3, "embedding.new", pa.nulls(len(table), table.schema.field(3).type)), "None of its queries"),
        (table.append_column("relevant", unknown), "2 columns `relevant`"),
        (table.set_column(1, "relevant", unknown), "too few queries to judge by. At least"),
    ):
        pq.write_table(wrong, path)
        asked = LocalUpgrade(*files, path, ("cosine", "cosine"), "ridge", {})
        with pytest.raises(WrongFile, match=expected) as error:
            run(asked, tmp_path / "out", lambda line: None)
        assert str(path) in str(error.value)
        assert not list((tmp_path / "out").glob("*"))


def test_a_file_that_is_read_is_not_written_over(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    old, report = files[0].rename(out / "transformed.parquet"), out / "report.json"
    report.write_text("of an earlier run")
    before = old.read_bytes()
    asked = LocalUpgrade(old, files[1], None, ("cosine", "cosine"), "ridge", {})
    with pytest.raises(WrongFile, match="would be written over"):
        run(asked, out, lambda line: None)
    assert (old.read_bytes(), report.read_text()) == (before, "of an earlier run")


def test_files_that_cannot_be_used_are_named_with_what_is_wrong(files: tuple[Path, Path], tmp_path: Path) -> None:
    old, sample = files
    table, wrong = pq.read_table(sample), tmp_path / "wrong.parquet"

    def refused(sample_table: pa.Table, expected: str) -> None:
        pq.write_table(sample_table, wrong)
        asked = LocalUpgrade(old, wrong, None, ("cosine", "cosine"), "ridge", {})
        with pytest.raises(WrongFile, match=expected) as error:
            run(asked, tmp_path / "out", lambda line: None)
        assert str(wrong) in str(error.value)

    refused(table.drop_columns(["id"]), "no column `id`")
    refused(table.rename_columns(["id", "vector"]), "no column `embedding`")
    refused(table.slice(0, 0), "no rows")
    refused(table.set_column(0, "id", pa.array([f"other-{row}" for row in range(len(table))])), "none have the `id`")
    refused(table.slice(0, 5), "5 have the `id`")
    ragged = pa.array([[1.0, 2.0], *([[1.0]] * (len(table) - 1))])
    refused(table.set_column(1, "embedding", ragged), r"row 1 .* column `embedding` has 1 number; 2 are expected")
    refused(table.append_column("embedding", table.column("embedding")), "2 columns `embedding`")
    refused(pa.concat_tables([table, table.slice(7, 1)]), f"the `id` '{table.column('id')[7]}' twice")
    refused(table.set_column(1, "embedding", pa.array([float(row) for row in range(len(table))])), "list of numbers")
    wrong.write_bytes(b"no parquet")
    with pytest.raises(WrongFile, match="cannot be read as Parquet"):
        VectorFile.old(wrong)
    with pytest.raises(WrongFile, match=r"lacks `relevant`, `embedding\.old`"):
        QueryFile.of(sample)


def test_the_exit_status_tells_wrong_options_from_what_could_not_be_done(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    """0 and 3, of what was accepted and what was not, are tested above."""
    wrong = tmp_path / "wrong.parquet"
    wrong.write_bytes(b"no parquet")
    for arguments, status, told in (
        ((wrong, files[1]), 2, "cannot be read as Parquet"),
        ((*files, "--gate-metric", "ndcg@10"), 2, "which --queries gives"),
        ((*files, "--out", wrong / "out"), 1, "Not a directory"),
    ):
        done = crosswalk(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (status, ""), done.stderr
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1
