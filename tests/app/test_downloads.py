"""What compatible training leaves to be downloaded: the model, and what it found out about its rows."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.composition import compose
from app.settings import Settings
from app.upgrades.training_rows import most_suspicious
from models.embedding_model import load
from tests.app.upgrades.training import Training


@pytest.fixture
def training(client: httpx.Client, settings: Settings) -> Iterator[Training]:
    crosswalk = compose(settings)
    yield Training(client, crosswalk)
    crosswalk.close()


def _refused(answer: httpx.Response) -> str:
    assert answer.status_code == 409, answer.text
    assert answer.json()["type"] == "/problems/wrong-state"
    return str(answer.json()["detail"])


def test_the_downloaded_model_is_the_one_that_was_trained(training: Training, tmp_path: Path) -> None:
    upgrade = training.start()
    trained = training.train(upgrade)
    answer = training.client.get("/models/new/artifact")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="new.zip"'
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    (tmp_path / "new.zip").write_bytes(answer.content)
    model = load(tmp_path / "new.zip")
    assert model.card.compatible_with is not None
    assert (model.card.id, model.card.compatible_with.model) == ("new", "old")
    for name, weights in trained.embedder.state_dict().items():
        np.testing.assert_array_equal(model.embedder.state_dict()[name].numpy(), weights.numpy())


def test_an_interrupted_download_goes_on_where_it_stopped(training: Training) -> None:
    training.train(training.start())
    whole = training.client.get("/models/new/artifact")
    resumed = {"Range": "bytes=100-", "If-Range": whole.headers["etag"]}
    rest = training.client.get("/models/new/artifact", headers=resumed)
    assert rest.status_code == 206
    assert rest.content == whole.content[100:]
    changed = training.client.get("/models/new/artifact", headers={**resumed, "If-Range": '"another"'})
    assert changed.status_code == 200
    head = training.client.head("/models/new/artifact")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


def test_a_model_without_an_artifact_says_why(training: Training) -> None:
    assert training.client.get("/models/unknown/artifact").status_code == 404
    assert "registered, not trained here" in _refused(training.client.get("/models/old/artifact"))
    upgrade = training.start()
    assert f"{upgrade} is still queued" in _refused(training.client.get("/models/new/artifact"))
    training.begin(upgrade)
    assert "still training" in _refused(training.client.get("/models/new/artifact"))
    training.fail(upgrade)
    assert "POST /models/old/upgrade" in _refused(training.client.get("/models/new/artifact"))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("suspect_label", ["r1", "r3", "r0"]),
        ("old_model_poor", ["r2", "r0", "r3"]),
        ("outlier", ["r2", "r0", "r1", "r3"]),
    ],
)
def test_rows_come_the_most_suspicious_first(training: Training, order: str, expected: list[str]) -> None:
    upgrade = training.start(instance_weights=True)
    training.train(upgrade)
    rows = training.client.get(f"/upgrades/{upgrade}/rows", params={"order": order}).json()
    assert [row["id"] for row in rows] == expected
    assert set(rows[0]) == {"id", "label", "outlier", "suspect_label", "old_model_poor"}
    first = training.client.get(f"/upgrades/{upgrade}/rows", params={"order": order, "limit": 1}).json()
    assert first == rows[:1]


def test_rows_are_a_file_to_those_who_want_csv(training: Training) -> None:
    upgrade = training.start(instance_weights=True)
    training.train(upgrade)
    answer = training.client.get(f"/upgrades/{upgrade}/rows", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="{upgrade}-suspect_label.csv"'
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["id"] for line in lines] == ["r1", "r3", "r0"]
    assert lines[0] == {"id": "r1", "label": "dog", "outlier": "1.0", "suspect_label": "3.0", "old_model_poor": ""}


def test_an_upgrade_without_such_rows_says_why(training: Training) -> None:
    upgrade = training.start()
    assert "still queued" in _refused(training.client.get(f"/upgrades/{upgrade}/rows"))
    training.train(upgrade, instance_weights=False)
    assert "instance_weights" in _refused(training.client.get(f"/upgrades/{upgrade}/rows"))
    assert training.client.get(f"/upgrades/{upgrade}/rows?order=outlier").status_code == 200
    training.reject(upgrade)
    training.post("/models", {"id": "other", "dimension": 3, "metric": "cosine"}, 201)
    training.put_rows([{"id": one, "embeddings": {"other": [1.0, 0.0, 0.0]}} for one in training.ids])
    forward = training.post("/models/old/upgrade", {"to": "other", "dataset": "photos"}, 202)["id"]
    assert "trains no model" in _refused(training.client.get(f"/upgrades/{forward}/rows"))
    assert training.client.get("/upgrades/unknown/rows").status_code == 404


def test_the_first_of_many_rows_are_those_of_sorting_them_all(tmp_path: Path) -> None:
    rng, many = np.random.default_rng(0), 200_000
    scores = rng.integers(0, 5_000, many).astype(np.float32)
    scores[rng.random(many) < 0.1] = np.nan
    columns: dict[str, Any] = {"id": [f"{n:06d}" for n in range(many)], "label": ["a"] * many}
    columns |= {name: pa.array(scores) for name in ("outlier", "suspect_label", "old_model_poor")}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    known = np.flatnonzero(~np.isnan(scores))
    for order, sign in (("outlier", 1), ("suspect_label", -1)):
        listed = most_suspicious(tmp_path / "rows.parquet", order, 500)  # type: ignore[arg-type]
        nearest = known[np.argsort(sign * scores[known], kind="stable")][:500]
        assert [row["id"] for row in listed] == [columns["id"][place] for place in nearest]
