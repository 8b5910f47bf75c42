"""A service on a disk that fills up: told as such, nothing lost, over once there is space; the worker waits for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.composition import compose
from app.galleries.rebuilds import Rebuilds, rebuild_of
from app.jobs.leases import Leases
from app.jobs.service import Jobs
from app.jobs.values import JobState
from app.maintenance.verify import verify
from app.problems import DiskFull
from app.settings import Settings
from tests.e2e.user import checked, npz, problem
from tests.serving import serving
from tests.waiting import wait_until
from workers.runtime.program import CROSSWALK
from workers.runtime.supervisor import Supervisor

MEGABYTES, DIMENSION, ROWS = 40, 256, 2_000


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Path]:
    """A file system of 40 MB."""
    folder = Path(tempfile.mkdtemp(prefix="crosswalk-small-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


@pytest.fixture
def settings(small_disk: Path, tmp_path: Path) -> Iterator[Settings]:
    folder = small_disk / tmp_path.name
    yield Settings(data_dir=folder, sweep_seconds=0.2, heartbeat_seconds=0.2, lease_seconds=600.0)
    (small_disk / "fill").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def fill(folder: Path, leaving: int = 0) -> None:
    """Takes all space of the disk but some bytes."""
    handle = os.open(folder / "fill", os.O_CREAT | os.O_WRONLY)
    for size in (65536, 4096, 1):
        try:
            while True:
                os.write(handle, bytes(size))
        except OSError:
            pass
    os.ftruncate(handle, max(0, os.fstat(handle).st_size - leaving))
    os.close(handle)


def free(folder: Path) -> None:
    (folder / "fill").unlink()


def body(start: int, rows: int = ROWS) -> bytes:
    vectors = np.random.default_rng(start).standard_normal((rows, DIMENSION)).astype(np.float32)
    return npz(id=[f"i{start + row}" for row in range(rows)], embedding=vectors)


def put(client: httpx.Client, content: bytes) -> httpx.Response:
    return client.put(
        "/galleries/g/items", params={"model": "m"}, content=content, headers={"content-type": "application/x-npz"}
    )


def with_gallery(client: httpx.Client, settings: Settings) -> None:
    """Waits for what the service learns of the vectors after it has answered, and writes too."""
    checked(client.post("/models", json={"id": "m", "dimension": DIMENSION, "metric": "cosine"}))
    checked(client.post("/galleries", json={"id": "g", "model": "m"}))
    checked(put(client, body(0)))
    wait_until(lambda: any((settings.data_dir / "spaces").glob("*.npz")), "the vectors to be learned")


def files(folder: Path) -> set[Path]:
    """Every file but SQLite's own, and lists of deleted rows that Lance began, which no version names."""
    found = {path for path in folder.rglob("*") if path.is_file() and path.parent.name != "_deletions"}
    return {path for path in found if not path.name.startswith("crosswalk.db")}


def test_full_disk_is_told_by_every_writer_and_loses_nothing(small_disk: Path, settings: Settings) -> None:
    with serving(settings) as client:
        with_gallery(client, settings)
        checked(client.post("/datasets", json={"id": "d"}))
        fill(small_disk, leaving=2**20 + 2**18)
        before = files(settings.data_dir)
        told = problem(put(client, body(ROWS)), 503, "disk-full")
        assert str(settings.data_dir) in told["detail"]
        assert files(settings.data_dir) == before
        free(small_disk)
        fill(small_disk)
        vector = [1.0] * DIMENSION
        row = {"id": "z", "embedding": vector}
        writes = {
            "items": client.put("/galleries/g/items", params={"model": "m"}, json=[row]),
            "delete": client.post("/galleries/g/items/delete", json={"ids": ["i1"]}),
            "rows": client.put("/datasets/d/rows", json=[{"id": "z", "label": "a"}]),
            "model": client.post("/models", json={"id": "m2", "dimension": 3, "metric": "l2"}),
            "gallery": client.post("/galleries", json={"id": "g2", "model": "m"}),
            "dataset": client.post("/datasets", json={"id": "d2"}),
            "sample": client.get("/galleries/g/sample", params={"n": 2}),
            "gone": client.delete("/datasets/d"),
        }
        for answer in writes.values():
            problem(answer, 503, "disk-full")
            assert answer.headers["retry-after"] == "10"
        assert files(settings.data_dir) == before
        assert len(list((settings.data_dir / "galleries").iterdir())) == 1
        found = client.post("/search", json={"gallery": "g", "model": "m", "k": 1, "vectors": [vector]})
        assert len(checked(found)["results"][0]) == 1
        for path in ("/galleries", "/galleries/g", "/galleries/g/items/i1", "/datasets", "/models", "/upgrades"):
            checked(client.get(path))
        assert "disk full" in problem(client.get("/readyz"), 503, "unavailable")["detail"]
        free(small_disk)
        checked(client.get("/readyz"))
        assert client.get("/galleries/g").json()["items"] == ROWS
        checked(put(client, body(0, 1)))
        checked(client.post("/galleries", json={"id": "g2", "model": "m"}))
    crosswalk = compose(settings)
    assert [finding.line() for finding in verify(crosswalk)] == []
    crosswalk.close()


def test_start_on_a_full_disk_is_refused_in_words_and_harms_nothing(small_disk: Path, settings: Settings) -> None:
    with serving(settings) as client:
        with_gallery(client, settings)
    fill(small_disk)
    try:
        with pytest.raises(DiskFull, match=str(settings.data_dir)):
            compose(settings).models.get("m")
    finally:
        free(small_disk)
    with serving(settings) as client:
        checked(client.get("/galleries/g"))


def test_step_waits_for_space_at_no_attempts_cost(small_disk: Path, settings: Settings) -> None:
    with serving(settings) as client:
        with_gallery(client, settings)
        for part in range(1, 4):
            checked(put(client, body(part * ROWS)))
    crosswalk = compose(settings)
    jobs = Jobs(lambda: None)

    def job() -> tuple[JobState, int, str | None]:
        with crosswalk.database.read() as session:
            (only,) = jobs.of(session, rebuild_of("g", 1))
        return only.state, only.attempts, only.error

    Rebuilds(crosswalk.database, jobs).ask("g", 1)
    fill(small_disk, leaving=3 * 2**20)  # for the row of the job, not for the vectors of the index
    worker = Supervisor(settings, CROSSWALK, lambda: None)
    worker.start()
    try:
        wait_until(lambda: "disk" in (job()[2] or ""), "the step to find the disk full", last=job)
        assert job()[1] <= 1
        wait_until(lambda: job()[0] == JobState.RUNNING, "the step to be tried again", last=job)
        free(small_disk)
        wait_until(lambda: job()[0] == JobState.SUCCEEDED, "the step to succeed", last=job)
        assert job()[1] == 1
    finally:
        worker.stop()
    assert crosswalk.galleries.info("g").current.index_name is not None
    assert [finding.line() for finding in verify(crosswalk)] == []
    crosswalk.close()


def test_lease_is_neither_renewed_nor_lost_on_a_full_disk(small_disk: Path, settings: Settings) -> None:
    """What the heartbeat and the supervisor write while a step works."""
    with serving(settings) as client:
        with_gallery(client, settings)
    crosswalk = compose(settings)
    Rebuilds(crosswalk.database, Jobs(lambda: None)).ask("g", 1)
    leases = Leases(crosswalk.database, settings, crosswalk.step_failed)
    lease = leases.claim(["reindex"])
    assert lease is not None
    fill(small_disk)
    with pytest.raises(DiskFull):
        leases.renew(lease)
    assert leases.cancel_requested(lease) is False
    free(small_disk)
    assert leases.renew(lease) is False
    crosswalk.close()
