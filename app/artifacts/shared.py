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
from typing import Any

from filelock import FileLock, Timeout

from app.problems import ObjectStoreAway
from app.settings import Settings
from app.storage.shared_files import SharedFiles, shared_files
from models.portable import publish

_RECORD, _LOCK = "artifacts.copied.json", "artifacts.copied.lock"
_LONGEST_WAIT_SECONDS = 60.0
"""How long another process of this machine may take to bring artifacts before whoever waits for that gives up."""
_FOLDER, _TRAINING, _BROUGHT = "artifacts", "training", "brought.json"

State = tuple[int, int]
"""The size of a file, and when it was written, in nanoseconds."""


class SharedArtifacts:
    """This machine's copy of the artifacts. Without an object store, there is one place, and nothing to do."""

    def __init__(self, settings: Settings) -> None:
        self._files = shared_files(settings)
        self._copy = settings.data_dir / _FOLDER
        self._folder = settings.artifacts_dir

    def refresh(self, beside: Path | None = None) -> None:
        """Has the folder of artifacts hold what the store holds by now. Raises ObjectStoreAway.

        In a step, whose folder has changes of its own, only runs are added that are not there yet. beside: the folder
        of a step that begins, which gets whatever it has not.
        """
        if self._files.store is None:
            return
        with self._locked():
            _bring(self._files, self._copy)
            if beside is not None:
                _take_back(beside)
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
        """Keeps other processes of this machine from writing the same copy. Raises ObjectStoreAway where one of them
        does so for too long, as with a store that hangs."""
        self._copy.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._copy.with_name(_LOCK), timeout=_LONGEST_WAIT_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            raise ObjectStoreAway(
                f"Another process of this machine has been bringing artifacts from the object store for more than "
                f"{_LONGEST_WAIT_SECONDS:.0f} s.",
                url=str(self._files.location(self._copy)),
            ) from error
        try:
            yield
        finally:
            lock.release()


class StepArtifacts:
    """The artifacts as one step sees them, in a folder of its own that outlives an attempt: training is taken up where
    it was cut off, on the same machine."""

    def __init__(self, settings: Settings, job: str) -> None:
        """settings: of the service, with an object store; job: whose step it is, in all its attempts."""
        self._settings = settings
        self._files = shared_files(settings)
        self.folder = settings.working_dir / job

    def begin(self) -> Settings:
        """Lays the folder out, and returns the settings of a step that works in it. Raises ObjectStoreAway."""
        SharedArtifacts(self._settings).refresh(beside=self.folder)
        return self._settings.with_artifacts_in(self.folder)

    def publish(self, served: Path | None = None) -> None:
        """Writes what the step changed since it began, or since this was called last, to the store. served: a folder
        that nobody will need, which the store is left without. Raises ObjectStoreAway."""
        store = self._files.store
        assert store is not None
        brought = _brought(self.folder)
        needed = (one for one in _files(self.folder) if served is None or served not in (self.folder / one).parents)
        now = {one: _state(self.folder / one) for one in needed}
        for one in sorted(now):
            if now[one] != brought.get(one):
                store.upload(self.folder / one, f"{_FOLDER}/{one}")
        store.remove([f"{_FOLDER}/{one}" for one in sorted(brought.keys() - now.keys())])
        _keep_brought(self.folder, now)

    def end(self) -> None:
        """Removes the folder, once the step is done or has failed for good."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _add(copy: Path, folder: Path, *, runs_alone: bool) -> None:
    """Gives the folder of a step the files of the copy that it has not, as links, since whoever changes a file there
    puts another in its place; runs_alone: of runs that it has nothing of. What is known of each is kept beside them."""
    known = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    brought = _brought(folder)
    for name in _files(copy):
        target = folder / name
        if runs_alone and name.partition("/")[0] in known:
            continue
        brought[name] = _state(copy / name)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if _TRAINING in target.parts:  # what is written in place there must not be written in the copy
            shutil.copy2(copy / name, target)
        else:
            os.link(copy / name, target)
    _keep_brought(folder, brought)


def _take_back(folder: Path) -> None:
    """Removes what an earlier attempt of a step was given and did not change: the store may have another by now, or
    none."""
    for name, state in _brought(folder).items():
        path = folder / name
        if path.exists() and _state(path) == state:
            path.unlink()
    if folder.is_dir():
        _remove_empty(folder)
    _keep_brought(folder, {})


def _brought(folder: Path) -> dict[str, State]:
    """The files that the folder of a step was given, or gave to the store, as they were then."""
    known = _read(folder / _BROUGHT)
    return {name: (int(size), int(written)) for name, (size, written) in known.items()}


def _keep_brought(folder: Path, brought: dict[str, State]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    publish(folder / _BROUGHT, json.dumps(brought).encode())


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
    _remove_empty(copy)
    if now != record:
        publish(copy.with_name(_RECORD), json.dumps(now).encode())


def _remove_empty(folder: Path) -> None:
    """Removes the folders below one that hold nothing: that there is one says that something was learned."""
    for below, _, _ in os.walk(folder, topdown=False):
        if Path(below) != folder and not os.listdir(below):
            os.rmdir(below)


def _read(record: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return known


def _files(folder: Path) -> list[str]:
    """The files in the folders of runs, as paths below the folder of all; what is not whole yet aside."""
    found = (path for path in folder.glob("*/**/*") if path.is_file() and ".partial" not in path.name)
    return [path.relative_to(folder).as_posix() for path in found]


def _state(path: Path) -> State:
    """What is another once a file has another content: its size, and when it was written."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
