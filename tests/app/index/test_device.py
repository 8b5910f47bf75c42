"""Inverted files are built on a GPU where there is one, and are the same kind of file, with the same kind of answers.

What needs a GPU and a FAISS that was built for one is skipped without them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from app.faiss_library import faiss
from app.index import IndexEngine, IndexOptions, LiveIndex, Snapshot, publish
from app.index import inverted_file as inverted_file_module
from app.index.device import DeviceFailed, comparing, on_gpus
from app.index.protocol import Kind
from app.settings import IndexDevice, Settings
from models.portable import Distance
from tests.app.index.conftest import DIMENSION, METRICS, gallery
from tests.app.index.oracle import Oracle, assert_scores_true
from tests.command import run_command

ROWS = 4_000
KINDS: tuple[Kind, ...] = ("ivf_flat", "ivf_sq8", "ivf_rabitq")
GPUS = faiss.get_num_gpus()
without_gpu = pytest.mark.skipif(GPUS > 0, reason="FAISS sees a GPU here")
with_gpu = pytest.mark.skipif(GPUS == 0, reason="needs an NVIDIA GPU and faiss-gpu")


def built(folder: Path, kind: Kind, metric: Distance, device: IndexDevice) -> Snapshot:
    rows, vectors = gallery(np.random.default_rng(1), ROWS)
    options = IndexOptions(kind=kind, nlist=60)
    path = publish(
        folder, [(rows, vectors)], metric=metric, dimension=DIMENSION, version=1, options=options, device=device
    )
    return Snapshot.load(path)


@without_gpu
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_the_processor_is_used(device: IndexDevice) -> None:
    flat = faiss.IndexFlat(4)
    with comparing(flat, device, centroids=flat.ntotal, rows=1) as centroids:
        assert centroids is flat


@without_gpu
def test_a_gpu_that_is_not_there_is_no_silent_processor(tmp_path: Path) -> None:
    with pytest.raises(DeviceFailed, match="CROSSWALK_INDEX_DEVICE"):
        on_gpus("cuda")
    rows, vectors = gallery(np.random.default_rng(1), 1_500)
    with pytest.raises(DeviceFailed, match="CROSSWALK_INDEX_DEVICE"):
        IndexEngine(Settings(index_device="cuda")).publish(
            tmp_path,
            [(rows, vectors)],
            metric="l2",
            dimension=DIMENSION,
            version=1,
            options=IndexOptions(kind="ivf_sq8"),
        )
    assert not list(tmp_path.glob("1-*"))


@without_gpu
@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_what_the_processor_builds_anyway_needs_no_gpu(kind: Kind, tmp_path: Path) -> None:
    assert built(tmp_path, kind, "l2", "cuda").manifest.kind == kind


@without_gpu
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_process_with_a_worker_does_not_start_without_the_gpu_asked_for(command: str, tmp_path: Path) -> None:
    broker = {"CROSSWALK_BROKER_URL": "redis://127.0.0.1:1/0"} if command == "worker" else {}
    port = ["--port", "0"] if command == "serve" else []
    done = run_command(command, *port, CROSSWALK_DATA_DIR=str(tmp_path), CROSSWALK_INDEX_DEVICE="cuda", **broker)
    assert done.returncode == 1
    assert "CROSSWALK_INDEX_DEVICE is cuda, and FAISS sees no GPU here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", METRICS)
def test_what_compares_with_centroids_need_not_be_the_index_s_own(
    kind: Kind, metric: Distance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU's is not: here a copy on the processor, so that the file must be the same to the bit."""
    own = built(tmp_path / "own", kind, metric, "cpu")
    copies = 0

    @contextmanager
    def comparing_elsewhere(flat: faiss.IndexFlat, device: IndexDevice, **sizes: int) -> Iterator[faiss.Index]:
        nonlocal copies
        copies += 1
        yield faiss.clone_index(flat)

    monkeypatch.setattr(inverted_file_module, "comparing", comparing_elsewhere)
    elsewhere = built(tmp_path / "elsewhere", kind, metric, "auto")
    assert copies == 3  # to learn the centroids, for the rows, and for those that it is tuned with
    assert elsewhere.manifest.files == own.manifest.files


@with_gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", METRICS)
def test_a_file_that_a_gpu_built_is_as_good_and_answers_as_true(kind: Kind, metric: Distance, tmp_path: Path) -> None:
    by_gpu, by_cpu = (built(tmp_path / device, kind, metric, device) for device in ("cuda", "cpu"))
    assert (by_gpu.manifest.kind, by_gpu.manifest.options) == (kind, by_cpu.manifest.options)
    sizes = [{name: file.bytes for name, file in one.manifest.files.items()} for one in (by_gpu, by_cpu)]
    assert sizes[0].keys() == sizes[1].keys()
    assert sizes[0]["vectors.f32"] == sizes[1]["vectors.f32"]
    assert by_gpu.manifest.recall >= by_gpu.manifest.options.recall_for(ROWS)
    rows, vectors = gallery(np.random.default_rng(1), ROWS)
    queries = np.ascontiguousarray(vectors[:64] + np.float32(0.01))  # in other places they would reach no such recall
    hits, known = (LiveIndex(metric, DIMENSION, snapshot=one).search(queries, 10) for one in (by_gpu, by_cpu))
    assert_scores_true(hits, Oracle(metric, rows, vectors), queries, metric)
    shares = [np.isin(found, true).mean() for found, true in zip(hits.rows, known.rows, strict=True)]
    assert np.mean(shares) >= 0.95


@with_gpu
def test_what_fails_on_a_gpu_is_told_with_what_to_do() -> None:
    flat = faiss.IndexFlat(4)
    flat.add(np.eye(4, dtype=np.float32))
    with (
        pytest.raises(DeviceFailed, match="CROSSWALK_INDEX_DEVICE=cpu"),
        comparing(flat, "cuda", centroids=1, rows=1) as centroids,
    ):
        centroids.search(np.eye(4, dtype=np.float32), 100_000)  # more neighbours than a GPU can sort
