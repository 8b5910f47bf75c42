"""The guard of spaces over HTTP: what is refused, what is only told, what is never touched."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.settings import Settings
from tests.serving import serving
from tests.spaces import DIMENSION, made_model
from tests.waiting import wait_until

OURS, THEIRS, NOBODYS = 1, 2, 3
PARQUET = {"content-type": "application/vnd.apache.parquet"}


def _put(client: httpx.Client, path: str, vectors: np.ndarray, ids: str, *columns: str) -> httpx.Response:
    """Puts vectors into a column, or the same into several."""
    flat = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).ravel()), vectors.shape[1])
    file, names = io.BytesIO(), [f"{ids}-{row}" for row in range(len(vectors))]
    pq.write_table(pa.table({"id": names} | dict.fromkeys(columns or ("embedding",), flat)), file)
    return client.put(path, content=file.getvalue(), headers=PARQUET)


def _filled(client: httpx.Client) -> None:
    """Two models of one dimension, each with a gallery that is known by its vectors."""
    for model, seed in (("ours", OURS), ("theirs", THEIRS)):
        new = {"id": model, "dimension": DIMENSION, "metric": "cosine"}
        assert client.post("/models", json=new).is_success
        assert client.post("/galleries", json={"id": model, "model": model}).is_success
        assert _put(client, f"/galleries/{model}/items?model={model}", made_model(seed, 1_500), model).is_success
    assert client.post("/datasets", json={"id": "rows"}).is_success


def _sketches(folder: Path) -> list[Path]:
    """The files of the models that are known, but for what is being written: that begins with a dot."""
    return list((folder / "spaces").glob("[!.]*.npz"))


def _known(folder: Path) -> None:
    wait_until(lambda: len(_sketches(folder)) == 2, "both models to be known")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that refuses; tests add to it what changes nothing for the others."""
    data = tmp_path_factory.mktemp("data")
    with serving(Settings(data_dir=data)) as client:
        _filled(client)
        _known(data)
        yield client


def test_a_batch_of_another_model_is_refused_and_its_model_named(guarded: httpx.Client) -> None:
    answer = _put(guarded, "/galleries/ours/items?model=ours", made_model(THEIRS, 100, of=5), "wrong")
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"] == "/problems/wrong-space"
    assert problem["likely_model"] == "theirs"
    assert "space=unchecked" in problem["detail"]
    assert guarded.get("/galleries/ours/items/wrong-0").status_code == 404


def test_rows_of_a_dataset_are_guarded_by_the_model_of_each_column(guarded: httpx.Client) -> None:
    right, wrong = made_model(OURS, 100, of=6), made_model(THEIRS, 100, of=6)
    assert _put(guarded, "/datasets/rows/rows", right, "row", "embedding.ours").is_success
    answer = _put(guarded, "/datasets/rows/rows", wrong, "row", "embedding.ours")
    assert answer.json()["type"] == "/problems/wrong-space"
    assert guarded.get("/datasets/rows").json()["rows"] == 100


def test_own_batches_of_one_topic_are_taken_without_a_word(guarded: httpx.Client) -> None:
    for topic in range(0, 20, 4):
        batch = made_model(OURS, 80, of=topic, topic=topic)
        answer = _put(guarded, "/galleries/ours/items?model=ours", batch, f"topic-{topic}")
        assert answer.is_success
        assert "warnings" not in answer.json()


def test_other_lengths_are_told_and_taken(guarded: httpx.Client) -> None:
    answer = _put(guarded, "/galleries/ours/items?model=ours", made_model(OURS, 80, of=8) * np.float32(9), "long")
    assert answer.is_success
    assert "lengths" in answer.json()["warnings"][0]


def test_toy_vectors_are_never_refused(guarded: httpx.Client) -> None:
    rng = np.random.default_rng(0)
    guarded.post("/models", json={"id": "toy", "dimension": 3, "metric": "cosine"})
    guarded.post("/galleries", json={"id": "toy", "model": "toy"})
    for turn in range(3):
        toys = (rng.standard_normal((2_000, 3)) @ rng.standard_normal((3, 3))).astype(np.float32)
        answer = _put(guarded, "/galleries/toy/items?model=toy", toys, f"toy-{turn}")
        assert answer.is_success
        assert "warnings" not in answer.json()
    one_hot = np.eye(3, dtype=np.float32)[np.arange(300) % 3]
    answer = _put(guarded, "/galleries/toy/items?model=toy", one_hot, "hot")
    assert answer.is_success
    assert "warnings" not in answer.json()


def test_few_vectors_of_another_model_are_taken_and_the_stream_of_them_is_told(guarded: httpx.Client) -> None:
    vectors = made_model(THEIRS, 400, of=12)
    guarded.post("/galleries", json={"id": "stream", "model": "ours"})
    told: list[str] = []

    def put_ten() -> bool:
        start = put_ten.calls * 10 % 400  # type: ignore[attr-defined]
        put_ten.calls += 1  # type: ignore[attr-defined]
        answer = _put(guarded, "/galleries/stream/items?model=ours", vectors[start : start + 10], f"few-{start}")
        assert answer.is_success
        told.extend(answer.json().get("warnings", []))
        return bool(told)

    put_ten.calls = 0  # type: ignore[attr-defined]
    wait_until(put_ten, "the stream to be told of")
    assert "'theirs'" in told[0]


def test_few_rows_of_a_dataset_are_watched_for_each_of_their_models(guarded: httpx.Client) -> None:
    guarded.post("/datasets", json={"id": "both"})
    vectors = made_model(NOBODYS, 400, of=13)
    told: list[str] = []

    def put_forty() -> bool:
        start = put_forty.calls % 10 * 40  # type: ignore[attr-defined]
        put_forty.calls += 1  # type: ignore[attr-defined]
        columns = ("embedding.ours", "embedding.theirs")
        answer = _put(guarded, "/datasets/both/rows", vectors[start : start + 40], f"few-{start}", *columns)
        assert answer.is_success
        told.extend(answer.json().get("warnings", []))
        return all(any(f"said to be of '{model}'" in warning for warning in told) for model in ("ours", "theirs"))

    put_forty.calls = 0  # type: ignore[attr-defined]
    wait_until(put_forty, "both streams to be told of")
    for model in ("ours", "theirs"):
        assert any("dataset 'both'" in warning for warning in guarded.get(f"/models/{model}").json()["warnings"])
    assert guarded.delete("/datasets/both").is_success
    for model in ("ours", "theirs"):
        assert not any("'both'" in warning for warning in guarded.get(f"/models/{model}").json().get("warnings", []))


def test_too_few_for_a_judgement_teach_nothing(settings: Settings) -> None:
    with serving(settings) as client:
        _filled(client)
        _known(settings.data_dir)
        before = {file.name: file.read_bytes() for file in _sketches(settings.data_dir)}
        for turn in range(5):
            few = made_model(NOBODYS, 40, of=turn)
            assert _put(client, "/galleries/ours/items?model=ours", few, f"few-{turn}").is_success
    after = {file.name: file.read_bytes() for file in _sketches(settings.data_dir)}
    assert after == before


def test_queries_of_another_model_are_answered_and_told_of(guarded: httpx.Client) -> None:
    def ask(vectors: np.ndarray) -> httpx.Response:
        answer = guarded.post("/search", json={"gallery": "ours", "model": "ours", "vectors": vectors.tolist(), "k": 1})
        assert answer.is_success
        return answer

    assert "crosswalk-warning" not in ask(made_model(OURS, 64, of=20)).headers
    wrong = made_model(THEIRS, 64, of=21)
    wait_until(lambda: "crosswalk-warning" in ask(wrong).headers, "wrong queries to be told of")
    assert "theirs" in ask(wrong).headers["crosswalk-warning"]
    assert any("queries" in warning for warning in guarded.get("/models/ours").json()["warnings"])
    assert 'crosswalk_foreign_streams_total{kind="queries"}' in guarded.get("/metrics").text
    right = made_model(OURS, 64, of=22)
    wait_until(lambda: "crosswalk-warning" not in ask(right).headers, "right queries to clear the warning")


def test_the_doctor_finds_a_planted_mixture_and_nothing_else(guarded: httpx.Client) -> None:
    assert guarded.get("/galleries/theirs/doctor").json()["healthy"]
    guarded.post("/galleries", json={"id": "mixed", "model": "ours"})
    path = "/galleries/mixed/items?model=ours&space=unchecked"
    assert _put(guarded, path, made_model(OURS, 900, of=30), "own").is_success
    assert _put(guarded, path, made_model(NOBODYS, 100, of=30), "planted").is_success
    report = guarded.get("/galleries/mixed/doctor").json()
    assert not report["healthy"]
    suspects = report["models"][0]["suspects"]
    assert suspects["low"] <= 100 <= suspects["high"]
    planted = sum(id.startswith("planted") for id in suspects["ids"])
    assert planted > 0.8 * len(suspects["ids"])
    assert suspects["likely_model"] is None


def test_the_doctor_says_where_there_is_too_little_to_judge(guarded: httpx.Client) -> None:
    guarded.post("/galleries", json={"id": "small", "model": "ours"})
    _put(guarded, "/galleries/small/items?model=ours", made_model(OURS, 50), "own")
    report = guarded.get("/galleries/small/doctor").json()
    assert not report["models"][0]["judged"]
    assert report["healthy"] is None
    assert guarded.get("/galleries/nowhere/doctor").status_code == 404


def test_the_doctor_does_not_call_healthy_what_it_cannot_judge(guarded: httpx.Client) -> None:
    guarded.post("/models", json={"id": "shapeless", "dimension": DIMENSION, "metric": "cosine"})
    guarded.post("/galleries", json={"id": "shapeless", "model": "shapeless"})
    ball = np.random.default_rng(0).standard_normal((900, DIMENSION)).astype(np.float32)
    assert _put(guarded, "/galleries/shapeless/items?model=shapeless", ball, "ball").is_success
    report = guarded.get("/galleries/shapeless/doctor").json()
    assert report["healthy"] is None
    assert report["models"][0]["finding"].startswith("Not judged")
    assert not report["models"][0]["judged"]


def test_whoever_knows_better_has_the_last_word(settings: Settings) -> None:
    wrong = made_model(NOBODYS, 500, of=1)
    with serving(settings) as client:
        _filled(client)
        _known(settings.data_dir)
        assert _put(client, "/galleries/ours/items?model=ours", wrong, "w").status_code == 422
        assert _put(client, "/galleries/ours/items?model=ours&space=unchecked", wrong, "w").is_success
        assert client.get("/galleries/ours").json()["items"] == 2_000


def test_flagged_vectors_are_stored_and_told_of(settings: Settings) -> None:
    with serving(settings.model_copy(update={"space_guard": "flag"})) as client:
        _filled(client)
        _known(settings.data_dir)
        answer = _put(client, "/galleries/ours/items?model=ours", made_model(THEIRS, 100, of=1), "w")
        assert answer.json()["inserted"] == 100
        assert "'theirs'" in answer.json()["warnings"][0]


def test_nothing_is_looked_at_when_it_is_off(settings: Settings) -> None:
    with serving(settings.model_copy(update={"space_guard": "off"})) as client:
        _filled(client)
        answer = _put(client, "/galleries/ours/items?model=ours", made_model(THEIRS, 100, of=1), "w")
        assert answer.is_success
        assert "warnings" not in answer.json()
        assert not (settings.data_dir / "spaces").exists()


def test_what_is_known_survives_a_restart_and_is_made_anew_from_what_is_stored(settings: Settings) -> None:
    with serving(settings) as client:
        _filled(client)
        _known(settings.data_dir)
    wrong = made_model(THEIRS, 100, of=1)
    with serving(settings) as client:
        assert _put(client, "/galleries/ours/items?model=ours", wrong, "w").status_code == 422
    for sketch in _sketches(settings.data_dir):
        sketch.write_bytes(b"damaged")
    with serving(settings) as client:
        for model, seed in (("ours", OURS), ("theirs", THEIRS)):
            one = made_model(seed, 1, of=40)
            assert _put(client, f"/galleries/{model}/items?model={model}", one, "one").is_success
        wait_until(
            lambda: _put(client, "/galleries/ours/items?model=ours", wrong, "w").status_code == 422,
            "the sketches to be made anew",
        )


def test_a_model_takes_its_sketch_with_it(settings: Settings) -> None:
    with serving(settings) as client:
        _filled(client)
        _known(settings.data_dir)
        for path in ("/galleries/ours", "/models/ours"):
            assert client.delete(path).is_success
        assert [file.name.partition("-")[0] for file in _sketches(settings.data_dir)] == ["theirs"]
