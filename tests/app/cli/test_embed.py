"""`crosswalk embed` and `crosswalk export`, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import app
from app.cli.command import commands
from app.settings import Settings
from models.embedding_model import EmbeddingModel, save, zipped
from models.inputs import Loader
from tests.models.embedding_model.tiny import DIMENSION, IMAGES, TEXTS, model
from tests.serving import serving
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(app.__file__).parent.parent


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


def _run_inside(*arguments: object) -> Result:
    """Runs the `crosswalk` command within the test's process, which has imported torch already."""
    return CliRunner().invoke(commands, list(map(str, arguments)))


def _artifact(of: EmbeddingModel, folder: Path) -> Path:
    save(of, folder / "model")
    zipped(folder / "model", folder / "model.zip")
    return folder / "model.zip"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, content in enumerate(IMAGES):
        (folder / f"{number}.png").write_bytes(content)
    return folder


def test_what_is_embedded_is_put_into_a_gallery_as_it_is(tmp_path: Path, settings: Settings) -> None:
    trained = model("bert")
    rows = tmp_path / "rows.jsonl"
    given = [{"id": f"t{n}", "text": text, "label": n % 2, "payload": {"n": n}} for n, text in enumerate(TEXTS)]
    rows.write_text("\n".join(map(json.dumps, given)))
    out = tmp_path / "out.parquet"
    done = _run("embed", _artifact(trained, tmp_path), rows, "--out", out, "--device", "cpu", "--batch", 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"8 vectors are in {out}.\n"
    with serving(settings) as client:
        body: dict[str, Any] = {"id": "new", "dimension": DIMENSION, "metric": "cosine"}
        assert client.post("/models", json=body).status_code == 201
        assert client.post("/galleries", json={"id": "g", "model": "new"}).status_code == 201
        put = _run("galleries", "put", "g", out, "--model", "new", "--url", client.base_url)
        assert put.returncode == 0, put.stderr
        vectors = trained.embed(TEXTS)
        queries = {"gallery": "g", "model": "new", "k": 1, "vectors": vectors.tolist()}
        answer = client.post("/search", json=queries)
        assert answer.status_code == 200, answer.text
        nearest = [results[0] for results in answer.json()["results"]]
    assert [result["id"] for result in nearest] == [f"t{n}" for n in range(8)]
    assert [result["label"] for result in nearest] == [str(n % 2) for n in range(8)]
    assert [result["payload"] for result in nearest] == [{"n": n} for n in range(8)]


def test_processes_that_decode_give_the_same_vectors(tmp_path: Path, photos: Path) -> None:
    trained = model()
    out = tmp_path / "out.parquet"
    done = _run(
        "embed", _artifact(trained, tmp_path), photos, "--out", out, "--device", "cpu", "--workers", 2, "--batch", 3
    )
    assert done.returncode == 0, done.stderr
    table = pq.read_table(out)
    assert table.column("id").to_pylist() == [f"{number}.png" for number in range(8)]
    np.testing.assert_allclose(table.column("embedding").to_pylist(), trained.embed(IMAGES, batch=3), rtol=1e-5)


def test_what_cannot_be_embedded_is_told_plainly_and_nothing_is_written(tmp_path: Path, photos: Path) -> None:
    artifact, out = _artifact(model(), tmp_path), tmp_path / "out.parquet"
    (photos / "3.png").write_bytes(b"no image")
    before = set(tmp_path.iterdir())
    done = _run_inside("embed", artifact, photos, "--out", out, "--device", "cpu")
    assert done.exit_code == 1
    assert done.stdout == ""
    first, last = done.stderr.splitlines()
    assert first.startswith("3.png: not an image that can be decoded")
    assert last == "Nothing was written."
    assert set(tmp_path.iterdir()) == before


def test_a_folder_that_is_not_there_and_a_model_that_is_none_are_told_plainly(tmp_path: Path, photos: Path) -> None:
    artifact = _artifact(model(), tmp_path)
    nowhere = _run_inside("embed", artifact, photos, "--out", tmp_path / "nowhere" / "out.parquet", "--device", "cpu")
    no_model = _run_inside("export", photos / "0.png", tmp_path / "out.onnx")
    for done, said in ((nowhere, "There is no folder"), (no_model, "no readable model")):
        assert done.exit_code == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_the_exported_graph_computes_what_embed_does(tmp_path: Path) -> None:
    trained = model()
    out = tmp_path / "model.onnx"
    done = _run_inside("export", _artifact(trained, tmp_path), out)
    assert done.exit_code == 0, done.stderr
    assert "agrees with PyTorch" in done.stdout
    assert done.stderr == ""
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    with Loader(IMAGES, trained.preprocessing) as loader:
        (batch,) = loader.batches([np.arange(8)], augment=False, seed=0)
    (exported,) = session.run(None, {name: tensor.numpy() for name, tensor in batch.tensors.items()})
    np.testing.assert_allclose(exported, trained.embed(IMAGES), atol=1e-5)
