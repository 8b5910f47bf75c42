"""Artifacts by way of an object store: a machine has what the store has, and a step's are there before its results."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from app.artifacts import shared
from app.artifacts.shared import SharedArtifacts, StepArtifacts
from app.problems import ObjectStoreAway
from app.settings import Settings
from app.storage.shared_files import shared_files
from models.portable import publish
from tests.services import free_port


@pytest.fixture
def one(storage_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "one", storage_url=storage_url)


@pytest.fixture
def other(storage_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "other", storage_url=storage_url)


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, content.encode())


def read(settings: Settings) -> dict[str, str]:
    folder = settings.artifacts_dir
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.parent != folder
    }


def test_what_a_step_made_is_on_every_machine_once_it_is_published(one: Settings, other: Settings) -> None:
    step = StepArtifacts(one, "job-1")
    working = step.begin()
    write(working.artifacts_dir / "upg-1", chosen="a", plain="b")
    SharedArtifacts(other).refresh()
    assert read(other) == {}
    step.publish()
    step.end()
    for machine in (one, other):
        SharedArtifacts(machine).refresh()
        assert read(machine) == {"upg-1/chosen": "a", "upg-1/plain": "b"}
    assert not working.artifacts_dir.exists()


def test_what_another_attempt_made_elsewhere_takes_the_place_of_what_was_there(one: Settings, other: Settings) -> None:
    first, second = StepArtifacts(one, "job-1"), StepArtifacts(other, "job-1")
    write(first.begin().artifacts_dir / "upg-1", chosen="a", uncertainty="of an attempt that was cut off")
    write(second.begin().artifacts_dir / "upg-1", chosen="b")
    second.publish()
    later = StepArtifacts(one, "job-2")
    assert read(later.begin()) == {"upg-1/chosen": "b"}
    write(later.folder / "upg-1", chosen="c")
    later.publish()
    SharedArtifacts(other).refresh()
    assert read(other) == {"upg-1/chosen": "c"}


def test_step_that_removes_a_file_and_leaves_others_removes_it_everywhere(one: Settings, other: Settings) -> None:
    step = StepArtifacts(one, "job-1")
    write(step.begin().artifacts_dir, **{"upg-1/training/rows": "1", "upg-1/model": "m", "upg-2/chosen": "a"})
    step.publish()
    later = StepArtifacts(other, "job-2")
    (later.begin().artifacts_dir / "upg-1/training/rows").unlink()
    later.publish()
    SharedArtifacts(one).refresh()
    assert read(one) == {"upg-1/model": "m", "upg-2/chosen": "a"}


def test_attempt_that_goes_on_finds_what_it_left_and_what_came_since(one: Settings, other: Settings) -> None:
    write(StepArtifacts(one, "job-1").begin().artifacts_dir / "upg-1/training", checkpoint="epoch 3")
    elsewhere = StepArtifacts(other, "job-2")
    write(elsewhere.begin().artifacts_dir, **{"upg-1/tuning": "t", "upg-2/chosen": "a"})
    elsewhere.publish()
    again = StepArtifacts(one, "job-1")
    found = read(again.begin())
    assert found == {"upg-1/training/checkpoint": "epoch 3", "upg-1/tuning": "t", "upg-2/chosen": "a"}
    again.publish()
    SharedArtifacts(other).refresh()
    assert read(other) == found


def test_run_that_came_during_a_step_is_seen_and_its_own_work_stays(one: Settings, other: Settings) -> None:
    step = StepArtifacts(one, "job-1")
    working = step.begin()
    write(working.artifacts_dir / "upg-1", chosen="mine")
    elsewhere = StepArtifacts(other, "job-2")
    write(elsewhere.begin().artifacts_dir, **{"upg-1/chosen": "theirs", "upg-2/chosen": "a"})
    elsewhere.publish()
    SharedArtifacts(working).refresh()
    assert read(working) == {"upg-1/chosen": "mine", "upg-2/chosen": "a"}


def test_file_that_was_lost_is_fetched_again(one: Settings) -> None:
    step = StepArtifacts(one, "job-1")
    write(step.begin().artifacts_dir / "upg-1", chosen="a")
    step.publish()
    SharedArtifacts(one).refresh()
    (one.artifacts_dir / "upg-1/chosen").unlink()
    SharedArtifacts(one).refresh()
    assert read(one) == {"upg-1/chosen": "a"}


def test_store_that_is_away_is_said_and_nothing_is_lost(one: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    step = StepArtifacts(one, "job-1")
    write(step.begin().artifacts_dir / "upg-1", chosen="a")
    step.publish()
    SharedArtifacts(one).refresh()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    away = one.model_copy(update={"storage_url": f"{one.storage_url}-away"})
    with pytest.raises(ObjectStoreAway):
        SharedArtifacts(away).refresh()
    assert read(one) == {"upg-1/chosen": "a"}


def test_process_that_brings_artifacts_for_ever_is_not_waited_for_as_long(
    one: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "_LONGEST_WAIT_SECONDS", 0.01)
    one.data_dir.mkdir()
    with FileLock(one.data_dir / "artifacts.copied.lock"), pytest.raises(ObjectStoreAway, match="Another process"):
        SharedArtifacts(one).refresh()
    SharedArtifacts(one).refresh()


def test_without_an_object_store_there_is_one_place(settings: Settings) -> None:
    write(settings.artifacts_dir / "upg-1", chosen="a")
    SharedArtifacts(settings).refresh()
    assert read(settings) == {"upg-1/chosen": "a"}
    assert shared_files(settings).location(settings.galleries_dir) == settings.galleries_dir


def test_folder_that_has_served_goes_from_the_store_and_from_other_machines(one: Settings, other: Settings) -> None:
    step = StepArtifacts(one, "job-1")
    write(step.begin().artifacts_dir, **{"upg-1/training/rows": "1", "upg-1/model": "m"})
    step.publish()
    SharedArtifacts(other).refresh()
    later = StepArtifacts(other, "job-2")
    working = later.begin()
    later.publish()
    later.end()
    SharedArtifacts(working).discard(working.artifacts_dir / "upg-1" / "training")
    for machine in (one, other):
        SharedArtifacts(machine).refresh()
        assert read(machine) == {"upg-1/model": "m"}


def test_folder_that_has_served_when_its_step_ends_is_not_given_to_the_store(one: Settings, other: Settings) -> None:
    step = StepArtifacts(one, "job-1")
    training = step.begin().artifacts_dir / "upg-1" / "training"
    write(training, rows="1", checkpoint="epoch 3")
    step.publish()
    write(training, checkpoint="epoch 4")
    write(training.parent, model="m", trainings="t")
    step.publish(served=training)
    SharedArtifacts(other).refresh()
    assert read(other) == {"upg-1/model": "m", "upg-1/trainings": "t"}
    again = StepArtifacts(one, "job-1")  # where the step was cut off before it could say that it is done
    assert (again.begin().artifacts_dir / "upg-1" / "training" / "checkpoint").read_text() == "epoch 4"


def test_run_that_was_removed_meanwhile_does_not_come_back_with_a_step(one: Settings, other: Settings) -> None:
    made = StepArtifacts(one, "job-1")
    write(made.begin().artifacts_dir, **{"upg-1/chosen": "a", "upg-2/chosen": "a", "upg-3/chosen": "a"})
    step = StepArtifacts(other, "job-2")
    step.begin()
    made.publish()
    working = step.begin()  # a second attempt, which finds what came since
    for run in ("upg-1", "upg-2"):
        shared_files(one).remove(one.data_dir / "artifacts" / run)
    write(working.artifacts_dir / "upg-4", chosen="b")
    step.publish()
    again = StepArtifacts(other, "job-2")
    again.begin()
    assert not (again.folder / "upg-1").exists(), "an empty folder would say that something was learned"
    again.publish()
    SharedArtifacts(one).refresh()
    assert read(one) == {"upg-3/chosen": "a", "upg-4/chosen": "b"}
