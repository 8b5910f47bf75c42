"""The artifacts of all upgrades and trainings, which machines share by way of an object store.

The folder of artifacts below the data directory is a copy of the store's. What is made of it is decided by the store
alone: `refresh` brings what is new or another, and removes what is no longer there. A step of a worker does not work in
it, but in a folder of its own (`StepArtifacts`), whose changes are written to the store before the step's results are
committed to the database. So whoever has read in the database that something was learned finds it in the store.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from app.settings import Settings
from app.storage.shared_files import SharedFiles, shared_files
from models.portable import publish

_RECORD, _LOCK = "artifacts.copied.json", "artifacts.copied.lock"
_FOLDER, _TRAINING = "artifacts", "training"


class SharedArtifacts:
    """This machine's copy of the artifacts. Without an object store, there is one place, and nothing to do."""

    def __init__(self, settings: Settings) -> None:
        self._files = shared_files(settings)
        self._copy = settings.data_dir / _FOLDER
        self._folder = settings.artifacts_dir

    def refresh(self, beside: Path | None = None) -> None:
        """Has the folder of artifacts hold what the store holds by now. Raises StoreAway.

        In a step, whose folder has changes of its own, only runs are added that are not there yet. beside: the folder
        of a step that begins, which gets whatever it has not.
        """
        if self._files.store is None:
            return
        with self._locked():
            _bring(self._files, self._copy)
            if beside is not None:
                _add(self._copy, beside, runs_alone=False)
            elif self._folder != self._copy:
                _add(self._copy, self._folder, runs_alone=True)

    def discard(self, folder: Path) -> None:
        """Removes a folder of a run that has served, here and in the store. Where that is away, it stays there until
        the run is removed."""
        shutil.rmtree(folder, ignore_errors=True)
        self._files.remove(self._copy / folder.relative_to(self._folder))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other processes of this machine from writing the same copy."""
        self._copy.mkdir(parents=True, exist_ok=True)
        with FileLock(self._copy.with_name(_LOCK)):
            yield


class StepArtifacts:
    """The artifacts as one step sees them, in a folder of its own that outlives an attempt: training is taken up where
    it was cut off, on the same machine."""

    def __init__(self, settings: Settings, job: str) -> None:
        """settings: of the service, with an object store; job: whose step it is, in all its attempts."""
        self._settings = settings
        self._files = shared_files(settings)
        self._copy = settings.data_dir / _FOLDER
        self.folder = settings.working_dir / job
        self._before: dict[str, tuple[int, int]] = {}

    def begin(self) -> Settings:
        """Lays the folder out, and returns the settings of a step that works in it. Raises StoreAway."""
        SharedArtifacts(self._settings).refresh(beside=self.folder)
        self._before = {one: _state(self._copy / one) for one in _files(self._copy)}
        return self._settings.with_artifacts_in(self.folder)

    def publish(self) -> None:
        """Writes what the step changed since it began, or since this was called last, to the store. Raises
        StoreAway."""
        store = self._files.store
        assert store is not None
        now = {one: _state(self.folder / one) for one in _files(self.folder)}
        for one in sorted(now):
            if now[one] != self._before.get(one):
                store.upload(self.folder / one, f"{_FOLDER}/{one}")
        store.remove([f"{_FOLDER}/{one}" for one in sorted(self._before.keys() - now.keys())])
        self._before = now

    def end(self) -> None:
        """Removes the folder, once the step is done or has failed for good."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _add(copy: Path, folder: Path, *, runs_alone: bool) -> None:
    """Gives a folder the files of the copy that it has not, as links, since whoever changes a file there puts another
    in its place; runs_alone: of runs that it has nothing of."""
    known = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for name in _files(copy):
        target = folder / name
        if (runs_alone and name.partition("/")[0] in known) or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if _TRAINING in target.parts:  # what is written in place there must not be written in the copy
            shutil.copy2(copy / name, target)
        else:
            os.link(copy / name, target)


def _bring(files: SharedFiles, copy: Path) -> None:
    """Makes a folder the same as the store's; its record says which content each file in it has."""
    store = files.store
    assert store is not None
    record = _read(copy.with_name(_RECORD))
    there = {one.key.removeprefix(f"{_FOLDER}/"): one for one in store.listed(_FOLDER)}
    now = {}
    for name, stored in there.items():
        known = record.get(name) == stored.etag and (copy / name).exists()
        if known or files.copy(stored.key, copy / name, stored.size):
            now[name] = stored.etag
    for name in _files(copy):
        if name not in there:
            (copy / name).unlink(missing_ok=True)
    for folder, _, _ in os.walk(copy, topdown=False):
        if Path(folder) != copy and not os.listdir(folder):
            os.rmdir(folder)
    if now != record:
        publish(copy.with_name(_RECORD), json.dumps(now).encode())


def _read(record: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return known


def _files(folder: Path) -> list[str]:
    """The files in the folders of runs, as paths below the folder of all; what is not whole yet aside."""
    found = (path for path in folder.glob("*/**/*") if path.is_file() and ".partial" not in path.name)
    return [path.relative_to(folder).as_posix() for path in found]


def _state(path: Path) -> tuple[int, int]:
    """What is another once a file has another content: its size, and when it was written."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
