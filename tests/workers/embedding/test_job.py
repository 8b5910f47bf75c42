"""Files → vectors: everything that may be given, and everything that may be wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from models.embedding_model import EmbeddingModel, save, zipped
from tests.models.embedding_model.tiny import IMAGES, TEXTS, model
from workers.embedding import CannotEmbed, embed_files, export, job

Embed = Callable[..., pa.Table]


@pytest.fixture(scope="module")
def images() -> EmbeddingModel:
    return model("resnet")


@pytest.fixture(scope="module")
def texts() -> EmbeddingModel:
    return model("bert")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "out.parquet"


@pytest.fixture
def embed(tmp_path: Path, out: Path) -> Embed:
    """Embeds files with a saved model, and reads what was written."""

    def run(of: EmbeddingModel, *files: Path, remarks: list[str] | None = None, **options: Any) -> pa.Table:
        save(of, tmp_path / "model")
        told: list[str] = [] if remarks is None else remarks
        given: dict[str, Any] = {"device": "cpu", "batch": 2, "workers": 0} | options
        rows = embed_files(
            tmp_path / "model", files, out, remark=told.append, progress=lambda done, total: None, **given
        )
        table = pq.read_table(out)
        assert (table.num_rows, list(out.parent.iterdir())) == (rows, [out])
        return table

    return run


def vectors(table: pa.Table) -> np.ndarray:
    column = table.column("embedding").combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), -1)


def test_vectors_of_an_encoder_of_side_information_are_what_galleries_take_as_such(
    embed: Embed, texts: EmbeddingModel, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"id": text, "text": text, "label": "x"}) for text in TEXTS))
    encoder = replace(texts, card=replace(texts.card, compatible_with=None, role="side_information"))
    table = embed(encoder, rows)
    assert table.schema.names == ["id", "side_information"]
    assert table.column("id").to_pylist() == TEXTS
    np.testing.assert_allclose(table.column("side_information").to_pylist(), texts.embed(TEXTS), atol=1e-5)


def refused(embed: Embed, out: Path, *arguments: Any, **options: Any) -> str:
    """What is said, after checking that nothing was left behind."""
    with pytest.raises(CannotEmbed) as refusal:
        embed(*arguments, **options)
    assert list(out.parent.iterdir()) == []
    return str(refusal.value)


def test_folders_are_walked_and_images_called_by_their_paths(
    tmp_path: Path, embed: Embed, images: EmbeddingModel
) -> None:
    folder = tmp_path / "photos"
    (folder / "cats").mkdir(parents=True)
    contents = IMAGES[:4]
    places = ("z.png", "cats/1.PNG", "cats/2.png")
    for place, content in zip(places, contents, strict=False):
        (folder / place).write_bytes(content)
    (folder / "notes.txt").write_text("no image")
    (folder / "poster.pdf").write_bytes(b"%PDF-1.7")
    alone = tmp_path / "alone.jpg"
    alone.write_bytes(contents[3])
    remarks: list[str] = []
    table = embed(images, folder, alone, remarks=remarks)
    assert table.column("id").to_pylist() == ["cats/1.PNG", "cats/2.png", "z.png", "alone.jpg"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 6)
    expected = images.embed([contents[1], contents[2], contents[0], contents[3]], batch=2)
    np.testing.assert_array_equal(vectors(table), expected)
    assert len(remarks) == 1
    assert "2 files are no images" in remarks[0]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather"])
def test_tables_carry_label_and_payload_along(
    suffix: str, tmp_path: Path, embed: Embed, images: EmbeddingModel
) -> None:
    contents = IMAGES[:5]
    table = pa.table(
        {
            "image": pa.array(contents, pa.large_binary()),
            "price": [1.0] * 5,
            "label": pa.array([3, 4, None, 3, 3], pa.int16()),
            "id": list("abcde"),
            "payload": [{"n": n} for n in range(5)],
        }
    )
    file = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, file)
    elif suffix == ".feather":
        pyarrow.feather.write_feather(table, str(file))
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    remarks: list[str] = []
    embedded = embed(images, file, remarks=remarks)
    assert embedded.column_names == ["id", "embedding", "label", "payload"]
    assert embedded.column("id").to_pylist() == list("abcde")
    assert embedded.column("label").to_pylist() == ["3", "4", None, "3", "3"]
    assert embedded.column("payload").to_pylist() == [f'{{"n":{n}}}' for n in range(5)]
    np.testing.assert_array_equal(vectors(embedded), images.embed(contents, batch=2))
    assert remarks == ["Columns that are not carried along: price."]


def test_row_groups_keep_rows_with_their_vectors(
    tmp_path: Path, embed: Embed, images: EmbeddingModel, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_GROUP_BYTES", 3 * 4 * 6)  # three rows, and two in a batch
    folder = tmp_path / "photos"
    folder.mkdir()
    contents = IMAGES
    for number, content in enumerate(contents):
        (folder / f"{number}.png").write_bytes(content)
    table = embed(images, folder)
    assert pq.ParquetFile(out).metadata.num_row_groups == 3
    assert table.column("id").to_pylist() == [f"{number}.png" for number in range(8)]
    np.testing.assert_array_equal(vectors(table), images.embed(contents, batch=2))


def test_lines_of_text_are_called_by_their_numbers(tmp_path: Path, embed: Embed, texts: EmbeddingModel) -> None:
    file = tmp_path / "lines.txt"
    file.write_bytes("\r\n".join(TEXTS[:3]).encode())
    table = embed(texts, file)
    assert table.column("id").to_pylist() == ["1", "2", "3"]
    np.testing.assert_array_equal(vectors(table), texts.embed(TEXTS[:3], batch=2))


def test_json_lines_carry_label_and_payload_along(tmp_path: Path, embed: Embed, texts: EmbeddingModel) -> None:
    file = tmp_path / "lines.jsonl"
    rows = [{"id": f"t{n}", "text": text, "label": n, "payload": {"n": n}} for n, text in enumerate(TEXTS)]
    file.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    table = embed(texts, file)
    assert table.column("id").to_pylist() == [f"t{n}" for n in range(8)]
    assert table.column("label").to_pylist() == list("01234567")
    np.testing.assert_array_equal(vectors(table), texts.embed(TEXTS, batch=2))


def test_every_image_that_cannot_be_decoded_is_named(
    tmp_path: Path, embed: Embed, images: EmbeddingModel, out: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(IMAGES[number] if number % 2 else b"no image")
    message = refused(embed, out, images, folder)
    assert [line.split(":")[0] for line in message.splitlines()[:-1]] == ["0.png", "2.png", "4.png"]
    assert message.endswith("Nothing was written.")


def test_only_the_first_of_many_bad_rows_are_told(
    tmp_path: Path, embed: Embed, images: EmbeddingModel, out: Path
) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": [str(n) for n in range(30)], "image": pa.array([None] * 30, pa.binary())}), file)
    lines = refused(embed, out, images, file).splitlines()
    assert len(lines) == job.MOST_TOLD + 2
    assert lines[0] == "0: an encoded image is expected; there is nothing"
    assert "may be more" in lines[-2]


def test_ids_that_a_gallery_would_refuse_are_refused(
    tmp_path: Path, embed: Embed, texts: EmbeddingModel, out: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    for ids, what in ((["a", "a"], "is the id of row 0 too"), (["a", ""], "is empty")):
        file.write_text("".join(json.dumps({"id": id, "text": "x"}) + "\n" for id in ids))
        assert what in refused(embed, out, texts, file)


def test_what_does_not_fit_the_model_is_told(
    tmp_path: Path, embed: Embed, images: EmbeddingModel, texts: EmbeddingModel, out: Path
) -> None:
    table, lines, folder = tmp_path / "t.parquet", tmp_path / "t.txt", tmp_path / "empty"
    pq.write_table(pa.table({"id": ["a"], "text": ["x"], "image": ["no binary"]}), table)
    lines.write_text("x\n")
    folder.mkdir()
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    assert "this model embeds images" in refused(embed, out, images, lines)
    assert "This model embeds texts" in refused(embed, out, texts, folder)
    assert "There is no image in" in refused(embed, out, images, folder)
    assert "one table or text file at a time" in refused(embed, out, texts, lines, table)
    assert "is of type string" in refused(embed, out, images, table)
    assert "cannot be read" in refused(embed, out, images, broken)
    pq.write_table(pa.table({"name": ["a"], "text": ["x"]}), table)
    assert "0 columns 'id'" in refused(embed, out, texts, table)


def test_json_lines_that_are_no_rows_are_told_by_number(
    tmp_path: Path, embed: Embed, texts: EmbeddingModel, out: Path
) -> None:
    file = tmp_path / "lines.jsonl"
    for line, what in (("{", "is not JSON"), ('{"id": 1, "text": "x"}', "should be an object"), ("[]", "an object")):
        file.write_text(f'{{"id": "a", "text": "x"}}\n{line}\n')
        message = refused(embed, out, texts, file)
        assert "Line 2" in message
        assert what in message
    file.write_text('{"id": "a", "text": "x", "label": [1]}')
    assert "should be a string or an integer" in refused(embed, out, texts, file)


def test_vectors_that_are_no_numbers_are_refused(tmp_path: Path, embed: Embed, out: Path) -> None:
    broken = model("resnet", "l2")
    broken.embedder.get_parameter("projection.bias").data[0] = float("nan")
    (tmp_path / "a.png").write_bytes(IMAGES[0])
    assert "no finite vector" in refused(embed, out, broken, tmp_path / "a.png")


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK no zip")
    with pytest.raises(CannotEmbed, match="no readable model"):
        export(tmp_path / "model.zip", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_zip_and_folder_are_the_same_model(tmp_path: Path, images: EmbeddingModel) -> None:
    save(images, tmp_path / "model")
    zipped(tmp_path / "model", tmp_path / "model.zip")
    (tmp_path / "a.png").write_bytes(IMAGES[0])
    written = []
    for artifact in ("model", "model.zip"):
        embed_files(
            tmp_path / artifact,
            [tmp_path / "a.png"],
            tmp_path / f"{artifact}.parquet",
            device="cpu",
            batch=1,
            workers=0,
            remark=print,
            progress=lambda done, total: None,
        )
        written.append((tmp_path / f"{artifact}.parquet").read_bytes())
    assert written[0] == written[1]
