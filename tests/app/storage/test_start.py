"""A process starts only where its data directory and its object store belong together, and can be used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.backup.service import CannotBackUp, back_up, restore
from app.cli.command import commands
from app.settings import Settings
from app.storage.object_store import ObjectStore
from app.storage.start import why_not_start
from tests.services import free_port


@pytest.fixture
def in_store(storage_url: str, tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path / "data", storage_url=storage_url)
    settings.data_dir.mkdir()
    return settings


def test_data_directory_is_of_one_store_for_good(in_store: Settings) -> None:
    assert why_not_start(in_store) is None
    assert why_not_start(in_store) is None
    assert "CROSSWALK_STORAGE_URL is not set" in str(why_not_start(Settings(data_dir=in_store.data_dir)))
    another = in_store.model_copy(update={"storage_url": f"{in_store.storage_url}/another"})
    assert str(in_store.storage_url) in str(why_not_start(another))


def test_processes_that_start_beside_one_another_find_the_url_whole(in_store: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(why_not_start, [in_store] * 4)) == [None] * 4
    (mark,) = in_store.data_dir.iterdir()
    written = mark.stat().st_mtime_ns
    assert why_not_start(in_store) is None
    assert mark.stat().st_mtime_ns == written, "what others may be reading is not written again"


def test_galleries_on_the_disk_are_not_left_behind(in_store: Settings) -> None:
    (in_store.galleries_dir / "g-01" / "items.lance").mkdir(parents=True)
    assert "leave behind" in str(why_not_start(in_store))


def test_store_that_overwrites_what_is_there_is_refused(in_store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obstore.put", lambda *_args, **_more: {"e_tag": "1"})
    assert "conditional writes" in str(why_not_start(in_store))


def test_store_that_is_away_is_refused_in_one_line_without_the_secret(
    storage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    variables = {"CROSSWALK_STORAGE_URL": f"{storage_url}/away", "CROSSWALK_DATA_DIR": str(tmp_path)}
    told = CliRunner().invoke(commands, ["migrate"], env=variables)
    assert told.exit_code == 1
    assert f"{storage_url}/away" in told.output
    assert "never-to-be-logged" not in told.output


@pytest.mark.parametrize("url", ["s3://", "gs://bucket/x", "s3://user:secret@bucket", "s3://bucket/", "/disk"])
def test_url_of_no_s3_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="storage_url"):
        Settings(storage_url=url)


def test_url_with_a_secret_in_it_is_not_repeated() -> None:
    told = CliRunner().invoke(commands, ["migrate"], env={"CROSSWALK_STORAGE_URL": "s3://user:secret@bucket"})
    assert told.exit_code == 1
    assert "CROSSWALK_STORAGE_URL" in told.output
    assert "secret" not in told.output


def test_backup_restore_and_verify_are_refused_by_name(in_store: Settings, tmp_path: Path) -> None:
    with pytest.raises(CannotBackUp, match="replication"):
        back_up(in_store, tmp_path / "b")
    with pytest.raises(CannotBackUp, match="replication"):
        restore(tmp_path / "b", in_store)
    variables = {"CROSSWALK_STORAGE_URL": str(in_store.storage_url), "CROSSWALK_DATA_DIR": str(in_store.data_dir)}
    told = CliRunner().invoke(commands, ["verify"], env=variables)
    assert told.exit_code == 2
    assert "is not verified" in told.output


def test_probe_leaves_nothing(in_store: Settings) -> None:
    assert why_not_start(in_store) is None
    assert ObjectStore(str(in_store.storage_url)).listed("") == []
