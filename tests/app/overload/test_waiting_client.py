"""The command line's client comes again when a service that has too much to do says so."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.cli.client import Client
from app.overload.work import Work
from tests.app.overload.gated import Gated
from tests.waiting import PATIENCE_SECONDS, wait_until

ITEMS = b'[{"id": "a", "embedding": [1, 0]}, {"id": "b", "embedding": [0, 1]}]'


@pytest.mark.parametrize("name", ["items.json", "items.json.gz"])
def test_a_refused_upload_is_sent_again_from_its_beginning(
    gated: Gated, threads: ThreadPoolExecutor, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(ITEMS) if name.endswith(".gz") else ITEMS)
    with gated.open(writes_at_once=1, queue_length=0, queue_seconds=PATIENCE_SECONDS):
        with gated.locked("models"):
            other = threads.submit(gated.client.post, "/models", json={"id": "other", "dimension": 2, "metric": "l2"})
            gated.until(Work.WRITES, 1, 0)
            client = Client(str(gated.client.base_url))
            upload = threads.submit(client.upload, "/galleries/g/items", file, None, model="m")
            wait_until(lambda: gated.refused(Work.WRITES) >= 1, "the upload to be refused")
        assert other.result().is_success
        upload.result()
        assert gated.client.get("/galleries/g").json()["items"] == 2
