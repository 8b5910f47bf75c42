import sys
from pathlib import Path

import pytest

from app.settings import Settings
from workers.runtime.child_process import environment


def test_step_reads_the_settings_of_its_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSWALK_DEVICE", "cuda")
    given = Settings(
        data_dir=Path("data"),
        device="cpu",
        lease_seconds=7.25,
        json_limit_bytes=12345,
        log_format="json",
        cors_origins=("https://a.example", "https://b.example"),
        allowed_hosts=(),
    )
    inherited = environment(given)
    monkeypatch.delenv("CROSSWALK_DEVICE")
    for name, value in inherited.items():
        if name.startswith("CROSSWALK_"):
            monkeypatch.setenv(name, value)
    assert Settings() == given.model_copy(update={"data_dir": tmp_path / "data"})


def test_stray_variables_do_not_reach_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSWALK_DATABASE_URL", "sqlite:///elsewhere.db")
    embedded = Settings(database_url=None)
    assert "CROSSWALK_DATABASE_URL" not in environment(embedded)


def test_cores_are_shared_among_slots_unless_the_operator_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environment(Settings(worker_concurrency=10_000))["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment(Settings(worker_concurrency=10_000))["OMP_NUM_THREADS"] == "3"


def test_step_imports_from_where_its_service_did() -> None:
    assert environment(Settings())["PYTHONPATH"].split(":")[-1] == sys.path[-1]
