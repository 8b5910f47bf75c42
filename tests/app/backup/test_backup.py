"""A backup is taken while others write, holds what was acknowledged before, and makes the same service again."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.backup import database_copy
from app.backup.database_copy import NotEmpty
from app.backup.manifest import NAME, NotABackup
from app.backup.service import CannotBackUp, back_up, check, restore
from app.settings import Settings
from app.storage.removal import REMOVED
from tests.services import postgres_database
from tests.serving import serving

QUERY = {"gallery": "g", "model": "m", "k": 100, "vectors": [[1.0, 0.5, 0.25]]}


def put(client: httpx.Client, *names: str) -> None:
    items = [
        {"id": name, "embedding": [1.0, len(name), k], "label": "l", "payload": {"k": k}}
        for k, name in enumerate(names)
    ]
    answer = client.put("/galleries/g/items", params={"model": "m"}, json=items)
    assert answer.is_success, answer.text


def everything(client: httpx.Client) -> dict[str, Any]:
    """What a client sees of the service."""
    paths = ("/models", "/galleries", "/datasets", "/galleries/g/generations", "/upgrades")
    return {path: client.get(path).json() for path in paths} | {"found": client.post("/search", json=QUERY).json()}


@pytest.fixture
def client(each_settings: Settings) -> Iterator[httpx.Client]:
    with serving(each_settings) as client:
        for model in ("m", "n"):
            assert client.post("/models", json={"id": model, "dimension": 3, "metric": "l2"}).is_success
        for gallery in ("g", "empty"):
            assert client.post("/galleries", json={"id": gallery, "model": "m"}).is_success
        assert client.post("/datasets", json={"id": "d"}).is_success
        assert client.put("/datasets/d/rows", json=[{"id": "a", "embeddings": {"n": [1, 2, 3]}}]).is_success
        put(client, "a", "bb", "ccc")
        yield client


def test_restored_service_is_the_same_on_either_database(
    client: httpx.Client, each_settings: Settings, tmp_path: Path, postgres: str
) -> None:
    manifest = back_up(each_settings, tmp_path / "backup")
    assert manifest.rows["models"] == manifest.rows["galleries"] == 2
    assert check(tmp_path / "backup") == manifest
    before = everything(client)
    put(client, "later")
    with postgres_database(postgres) as url:
        for folder, database_url in (("again", None), ("elsewhere", url)):
            other = Settings(data_dir=tmp_path / folder, database_url=database_url)
            restore(tmp_path / "backup", other)
            with serving(other) as restored:
                assert everything(restored) == before
                put(restored, "d")
                assert restored.get("/galleries/g").json()["items"] == 4


def test_whatever_is_acknowledged_before_a_backup_begins_is_in_it(
    client: httpx.Client, each_settings: Settings, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            name = f"w{len(acknowledged)}"
            put(client, name)
            acknowledged.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            before = list(acknowledged)
            back_up(each_settings, tmp_path / f"backup-{number}")
            other = Settings(data_dir=tmp_path / f"restored-{number}")
            restore(tmp_path / f"backup-{number}", other)
            with serving(other) as restored:
                found = restored.post("/search", json=QUERY | {"k": 1000}).json()["results"][0]
                assert {"a", "bb", "ccc", *before} <= {hit["id"] for hit in found}
                assert len(found) == restored.get("/galleries/g").json()["items"]
    finally:
        stop.set()
        writer.join()


def test_nothing_that_is_there_is_overwritten(client: httpx.Client, each_settings: Settings, tmp_path: Path) -> None:
    back_up(each_settings, tmp_path / "backup")
    with pytest.raises(CannotBackUp, match="exists"):
        back_up(each_settings, tmp_path / "backup")
    with pytest.raises(CannotBackUp, match="not empty"):
        restore(tmp_path / "backup", each_settings)
    if each_settings.database_url is not None:
        with pytest.raises(NotEmpty, match="has rows already"):
            restore(tmp_path / "backup", Settings(data_dir=tmp_path / "new", database_url=each_settings.database_url))
        assert not (tmp_path / "new").exists()
    assert len(everything(client)["/models"]["items"]) == 2


def test_a_backup_that_is_not_what_it_was_is_refused_and_the_file_is_named(
    client: httpx.Client, each_settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    for file in back_up(each_settings, folder).files:
        path, whole = folder / file.path, (folder / file.path).read_bytes()
        for damaged in (bytes([whole[0] ^ 1]) + whole[1:], whole[:-1]):
            path.write_bytes(damaged)
            with pytest.raises(NotABackup, match="is damaged"):
                restore(folder, Settings(data_dir=tmp_path / "new"))
        path.unlink()
        with pytest.raises(NotABackup, match=path.name):
            check(folder)
        path.write_bytes(whole)
    manifest = check(folder)
    first, second = (folder / file.path for file in manifest.files[:2])
    first.unlink()
    second.write_bytes(b"?")
    with pytest.raises(NotABackup, match=f"2 of {len(manifest.files)} files") as both:
        check(folder)
    assert f"{manifest.files[0].path} is missing; {manifest.files[1].path} is not" in str(both.value)
    assert not (tmp_path / "new").exists()


_OUTSIDE = (
    '{"format": 1, "release": "0.1", "created_at": "2026-01-01", "rows": {}, '
    '"files": [{"path": "../x", "nbytes": 1, "sha256": ""}]}'
)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "cannot be read"),
        ("{", "is damaged"),
        ('{"format": 2, "release": "9.9"}', "newer than this one"),
        (_OUTSIDE, "is damaged"),
    ],
)
def test_what_is_no_backup_is_refused(tmp_path: Path, written: str | None, said: str) -> None:
    if written is not None:
        (tmp_path / NAME).write_text(written)
    with pytest.raises(NotABackup, match=said):
        restore(tmp_path, Settings(data_dir=tmp_path / "new"))


def test_what_the_removal_of_a_gallery_left_behind_is_in_no_backup(
    client: httpx.Client, each_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)  # as where the process died before
        assert client.delete("/galleries/empty").status_code == 204
    left = [path.name for path in each_settings.galleries_dir.iterdir() if path.name.endswith(REMOVED)]
    assert len(left) == 1
    manifest = back_up(each_settings, tmp_path / "backup")
    assert not [file.path for file in manifest.files if REMOVED in file.path]


def test_a_gallery_that_is_deleted_while_it_is_copied_is_in_no_backup(
    client: httpx.Client, each_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[int] = []

    def to_file(*arguments: Any) -> dict[str, int]:
        rows = database_copy.to_file(*arguments)
        if not deleted:
            deleted.append(client.delete("/galleries/empty").status_code)
        return rows

    monkeypatch.setattr("app.backup.service.to_file", to_file)
    manifest = back_up(each_settings, tmp_path / "backup")
    assert deleted == [204]
    assert manifest.rows["galleries"] == 1
    assert json.loads((tmp_path / "backup" / NAME).read_text())["rows"]["galleries"] == 1
