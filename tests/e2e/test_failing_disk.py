"""A disk that answers every write with an input/output error: told by every writer, and over when it is over."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.service import Service
from tests.e2e.user import checked, npz, problem
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture
def trigger(tmp_path: Path) -> Path:
    """The disk fails for as long as this file is there."""
    return tmp_path / "failing"


@pytest.fixture
def client(tmp_path: Path, trigger: Path) -> Iterator[httpx.Client]:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("errors of a disk are injected below libc, which takes Linux and a C compiler")
    library = tmp_path / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    variables = {"LD_PRELOAD": str(library), "EIO_TRIGGER": str(trigger), "EIO_FOLDER": str(tmp_path / "s" / "data")}
    service = Service(tmp_path / "s", variables).start()
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client:
        yield client
    service.kill()


def test_failing_disk_is_told_by_every_writer_and_is_over_when_it_is_over(
    client: httpx.Client, trigger: Path, tmp_path: Path
) -> None:
    checked(client.post("/models", json={"id": "m", "dimension": 2, "metric": "cosine"}))
    checked(client.post("/galleries", json={"id": "g", "model": "m"}))
    checked(client.post("/datasets", json={"id": "d"}))
    items = {"items": [{"id": "a", "embedding": [1.0, 0.0]}, {"id": "b", "embedding": [0.0, 1.0]}]}
    checked(client.put("/galleries/g/items", params={"model": "m"}, json=items))
    trigger.touch()
    body = npz(id=["a"], embedding=[[0.5, 0.5]])
    binary = {"content-type": "application/x-npz"}
    writes = [
        client.put("/galleries/g/items", params={"model": "m"}, content=body, headers=binary),
        client.put("/galleries/g/items", params={"model": "m"}, json=items),
        client.post("/galleries/g/items/delete", json={"ids": ["a"]}),
        client.put("/datasets/d/rows", json=[{"id": "z", "label": "a"}]),
        client.post("/models", json={"id": "m2", "dimension": 3, "metric": "l2"}),
        client.post("/galleries", json={"id": "g2", "model": "m"}),
        client.post("/datasets", json={"id": "d2"}),
    ]
    for answer in writes:
        problem(answer, 503, "disk-failing")
    assert "disk" in problem(client.get("/readyz"), 503, "unavailable")["detail"]
    found = client.post("/search", json={"gallery": "g", "model": "m", "k": 1, "vectors": [[1.0, 0.1]]})
    assert checked(found)["results"][0][0]["id"] == "a"
    trigger.unlink()
    checked(client.get("/readyz"))
    assert checked(client.get("/galleries/g"))["items"] == 2
    assert len(list((tmp_path / "s" / "data" / "galleries").iterdir())) == 1
    assert len(list((tmp_path / "s" / "data" / "datasets").iterdir())) == 1
    checked(client.post("/galleries", json={"id": "g2", "model": "m"}))
