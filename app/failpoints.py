"""Named points in the code at which tests kill or stop the process, to see that nothing is lost there.

In service nothing is armed, and `reached` compares one variable with None. Armed by the environment when a process
starts, which then says what kind of process it is:

CROSSWALK_FAILPOINT          `index.renamed@step*2=kill`: the second time that a step's process gets there, it dies by
                             SIGKILL; `=stop` has it stop there, by SIGSTOP, until it is told to go on
CROSSWALK_FAILPOINT_JOURNAL  a file to which every point reached is added, as `kind point` on a line of its own

Times are counted in the journal, so that all processes of one kind are counted together, and what was killed and
started again does not die at the same point again.
"""

import os
import re
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

FAILPOINT, JOURNAL = "CROSSWALK_FAILPOINT", "CROSSWALK_FAILPOINT_JOURNAL"

ProcessKind = Literal["gateway", "worker", "step"]
"""What a process is. In the embedded arrangement the worker is part of the gateway's process."""


class Failpoint(StrEnum):
    """Every point, named for what has just happened there, or, ending in -ing, is just about to."""

    FILE_RENAMING = "file.renaming"
    FILE_REMOVING = "file.removing"

    SQL_COMMITTING = "sql.committing"
    SQL_COMMITTED = "sql.committed"
    SCHEMA_MIGRATED = "schema.migrated"
    KEY_CLAIMED = "idempotency.key-claimed"

    UPLOAD_RECEIVED = "upload.received"
    UPLOAD_READ = "upload.read"

    TABLE_CREATED = "table.created"
    COLUMN_ADDED = "table.column-added"
    ROWS_UPSERTED = "table.rows-upserted"
    ROWS_UPDATED = "table.rows-updated"
    ROWS_DELETED = "table.rows-deleted"
    FRAGMENTS_MERGED = "table.fragments-merged"
    VERSIONS_CLEANED = "table.versions-cleaned"
    VERSION_TAGGED = "table.version-tagged"
    VERSION_UNTAGGED = "table.version-untagged"

    GALLERY_LAID_OUT = "gallery.laid-out"
    GALLERY_UNREGISTERED = "gallery.unregistered"
    GALLERY_DESTROYED = "gallery.destroyed"
    DATASET_LAID_OUT = "dataset.laid-out"
    DATASET_UNREGISTERED = "dataset.unregistered"
    DATASET_DESTROYED = "dataset.destroyed"
    DIMENSION_AGREED = "side-information.dimension-agreed"
    RETIREMENT_NOTED = "generation.retirement-noted"
    LEFTOVER_REMOVED = "leftovers.removed"

    JOB_ENQUEUED = "job.enqueued"
    DOORBELL_RINGING = "doorbell.ringing"
    DOORBELL_RUNG = "doorbell.rung"
    LEASE_CLAIMED = "lease.claimed"
    LEASE_RENEWED = "lease.renewed"
    LEASE_RELEASED = "lease.released"
    CHECKPOINT_KEPT = "job.checkpoint-kept"
    PROGRESS_TOLD = "job.progress-told"
    JOB_FINISHING = "job.finishing"
    JOB_FINISHED = "job.finished"
    JOB_FAILED = "job.failed"

    CROSSING_SAVED = "artifact.crossing-saved"
    PLAIN_CROSSING_SAVED = "artifact.plain-crossing-saved"
    UNCERTAINTY_SAVED = "artifact.uncertainty-saved"
    HELD_OUT_SAVED = "artifact.held-out-saved"
    FUSION_SAVED = "artifact.fusion-saved"
    QUERIES_SAVED = "artifact.queries-saved"
    SAMPLE_SAVED = "artifact.sample-saved"

    STORE_BATCH_BEGUN = "store.batch-begun"
    STORE_BATCH_WRITTEN = "store.batch-written"
    STORE_BATCH_NOTED = "store.batch-noted"
    STORE_SWITCHED = "store.switched"

    EMBEDDING_SET_ASIDE = "embedding.set-aside"
    EMBEDDING_ANSWERED = "embedding.answered"
    EMBEDDING_KEPT = "embedding.kept"

    GENERATION_BUILT = "generation.row-written"
    UNITS_PLANNED = "transform.units-planned"
    UNIT_CLAIMED = "transform.unit-claimed"
    UNIT_RECORDING = "transform.unit-recording"
    UNIT_RECORDED = "transform.unit-recorded"
    FRAGMENT_WRITTEN = "generation.fragment-written"
    GENERATION_COMMITTED = "generation.committed"
    GENERATION_UPSERTED = "generation.changes-upserted"
    GENERATION_PURGED = "generation.changes-deleted"
    GENERATIONS_ABANDONED = "generation.abandoned"
    GALLERY_POINTED = "generation.pointed-at"

    INDEX_VECTORS_WRITTEN = "index.vectors-written"
    INDEX_COLLECTION_LOADED = "index.collection-loaded"
    INDEX_MANIFEST_WRITTEN = "index.manifest-written"
    INDEX_SYNCED = "index.synced"
    INDEX_RENAMED = "index.renamed"
    INDEX_PUBLISHED = "index.published"
    INDEX_PRUNED = "index.pruned"
    INDEX_SETTLED = "index.settled"


@dataclass(frozen=True)
class Trigger:
    """What happens when a point is reached for the `time`-th time by a process of a kind."""

    point: Failpoint
    kind: ProcessKind
    time: int
    action: Literal["kill", "stop"]

    def __str__(self) -> str:
        return f"{self.point}@{self.kind}*{self.time}={self.action}"

    @classmethod
    def parse(cls, text: str) -> "Trigger":
        """Raises ValueError where the text is no trigger, or names no point that there is."""
        found = re.fullmatch(r"([a-z.-]+)@(gateway|worker|step)\*([1-9][0-9]*)=(kill|stop)", text)
        if found is None:
            raise ValueError(f"{FAILPOINT} is {text!r}; it must look like index.renamed@step*1=kill")
        point, kind, time, action = found.groups()
        return cls(Failpoint(point), kind, int(time), action)  # type: ignore[arg-type]  # the expression allows no other


class _Armed:
    """Writes the journal, and does what the trigger says when its time has come."""

    def __init__(self, kind: ProcessKind, trigger: Trigger | None, journal: Path) -> None:
        self.kind = kind
        self.trigger = trigger
        self._journal = journal

    def reached(self, point: Failpoint) -> None:
        line = f"{self.kind} {point}\n".encode()
        # One write to a file opened to append: lines of several processes and threads never mix.
        handle = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, line)
        end = os.lseek(handle, 0, os.SEEK_CUR)  # of this very line: others may have added theirs since
        os.close(handle)
        trigger = self.trigger
        if trigger is None or (trigger.point, trigger.kind) != (point, self.kind):
            return
        if self._journal.read_bytes()[:end].splitlines(keepends=True).count(line) == trigger.time:
            # To this thread: another would hear of a stop first, and this one go on until it has.
            signal.pthread_kill(threading.get_ident(), signal.SIGKILL if trigger.action == "kill" else signal.SIGSTOP)


_armed: _Armed | None = None


def reached(point: Failpoint) -> None:
    """Says that the process is at a point. Does nothing unless `arm` found that a test has armed it."""
    if _armed is not None:
        _armed.reached(point)


def arm(kind: ProcessKind, environment: Mapping[str, str] = os.environ) -> None:
    """Called once when a process of the service starts. Does nothing where no test asks for anything.

    Raises ValueError where what is asked for does not exist, so that no test waits for it.
    """
    global _armed
    if JOURNAL not in environment:
        return
    text = environment.get(FAILPOINT)
    trigger = None if text is None else Trigger.parse(text)
    if _armed is None:
        sys.addaudithook(_watch_files)
    _armed = _Armed(kind, trigger, Path(environment[JOURNAL]))


def passed_on(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a process that is started with an environment of its own needs in order to be armed alike."""
    return {name: environment[name] for name in (FAILPOINT, JOURNAL) if name in environment}


def _watch_files(event: str, _arguments: tuple[Any, ...]) -> None:
    """The interpreter calls this before it renames or removes a file, wherever in the code that is."""
    if event == "os.rename":
        reached(Failpoint.FILE_RENAMING)
    elif event in ("os.remove", "os.rmdir"):
        reached(Failpoint.FILE_REMOVING)
