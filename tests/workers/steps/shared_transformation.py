"""A gallery that is about to be transformed in units, by steps and helpers that a test lets run as it likes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import lance
import numpy as np
from sqlalchemy import select, update

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.jobs.leases import Leases
from app.jobs.tables import JobRow
from app.jobs.values import JobState
from app.storage.database import utc_now
from app.upgrades.states import UpgradeState
from app.upgrades.transform_units import HELP, TransformUnit, UnitsDone
from models.portable import save_transformation
from tests.app.crossings import affine
from tests.upgrade_rows import store_upgrade
from tests.workers.stepping import do_step
from workers.context import StepContext
from workers.heartbeat import Heartbeat
from workers.serving.transforming import UnitWork
from workers.steps.transform import plan_units

UNIT_ROWS = 10
ITEMS, GONE = 47, 5
UNITS = 5  # of 10, 10, 10, 10 and 2 rows

Progress = Callable[[TransformUnit, int], None]


@dataclass
class SharedTransformation:
    """A gallery of old vectors whose upgrade is about to transform it; steps are done in this process."""

    client: httpx.Client
    crosswalk: Crosswalk

    def __post_init__(self) -> None:
        self.leases = Leases(self.crosswalk.database, self.crosswalk.settings, self.crosswalk.step_failed)
        for model in ("old", "new"):
            self.post("/models", {"id": model, "dimension": 2, "metric": "l2"})
        self.post("/galleries", {"id": "g", "model": "old"})
        for some in np.array_split(np.arange(ITEMS), 3):  # a fragment each
            items = [{"id": f"item-{number:02d}", "embedding": [int(number), 1]} for number in some]
            self.client.put("/galleries/g/items?model=old", json={"items": items}).raise_for_status()
        self.post("/galleries/g/items/delete", {"ids": [f"item-{3 * number:02d}" for number in range(GONE)]})
        old, new = (self.crosswalk.models.space(model) for model in ("old", "new"))
        self.h = affine(old, new)
        artifacts = UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, "u")
        for path in (artifacts.chosen, artifacts.plain):
            save_transformation(self.h, path)
        store_upgrade(self.crosswalk.database, "u", UpgradeState.TRANSFORMING, ["g"])
        with self.crosswalk.database.session() as session:
            self.crosswalk.jobs.enqueue(session, "transform", "u")

    def post(self, path: str, body: object) -> None:
        self.client.post(path, json=body).raise_for_status()

    @contextmanager
    def holding(self, step: str) -> Iterator[StepContext]:
        """An attempt at the step that waits, as its process has it."""
        lease = self.leases.claim([step])
        assert lease is not None, "no such step waits"
        database, settings = self.crosswalk.database, self.crosswalk.settings
        with Heartbeat(self.leases, lease, settings, os.getppid(), lost=lambda: None) as heartbeat:
            yield StepContext(settings, database, self.leases, lease, heartbeat)

    def plan(self) -> None:
        """What the step does first; then its process hangs."""
        with self.holding("transform") as context:
            plan_units(context, self.crosswalk, self.crosswalk.upgrade_steps.info("u"), "g")

    def resume(self) -> None:
        """Whoever hung is thought dead, and another does the step, to its end."""
        self.expire()
        do_step(self.crosswalk, ["transform"])

    def help(self, progress: Progress = lambda _unit, _done: None) -> bool:
        """One unit done by a helper, which goes on to live; whether there was one."""
        with self.holding(HELP) as context:
            return UnitWork(context, self.crosswalk, "u").do_next(progress)

    def expire(self) -> None:
        """Whoever holds a lease has not been heard of for too long."""
        with self.crosswalk.database.session() as session:
            running = update(JobRow).where(JobRow.state == JobState.RUNNING)
            session.execute(running.values(lease_expires_at=utc_now() - timedelta(hours=1)))

    def done(self) -> UnitsDone:
        with self.crosswalk.database.read() as session:
            return self.crosswalk.transform_units.done(session, "u")

    def helpers(self) -> list[str]:
        with self.crosswalk.database.read() as session:
            return list(session.scalars(select(JobRow.state).where(JobRow.step == HELP)))

    def pieces(self) -> list[str]:
        """What is written of the gallery so far, as far as that was written down."""
        with self.crosswalk.database.read() as session:
            return self.crosswalk.transform_units.pieces(session, "u", "g")

    def job_state(self) -> str:
        """How it stands with the job of the step itself."""
        with self.crosswalk.database.read() as session:
            return session.scalars(select(JobRow.state).where(JobRow.step == "transform")).one()

    def has_pieces(self, pieces: Sequence[str]) -> bool:
        """Whether the generation's vectors lie in these files, among others."""
        info = self.crosswalk.galleries.info("g")
        generation = self.crosswalk.galleries.store(info).generation(2, 2)
        there = {file.path for one in lance.dataset(generation.path).get_fragments() for file in one.data_files()}
        return {file["path"] for piece in pieces for file in json.loads(piece)["files"]} <= there

    def is_transformed(self) -> None:
        """Every item is there once, in the new space, in units of which each was written once; nothing is left over."""
        info = self.crosswalk.galleries.info("g")
        store = self.crosswalk.galleries.store(info)
        generation = store.generation(2, 2)
        old = {row["_rowid"]: row["embedding@old"] for row in store.items.where("true").to_pylist()}
        rows, vectors = (
            np.concatenate([getattr(part, name) for part in generation.scan()]) for name in ("rows", "vectors")
        )
        assert sorted(rows.tolist()) == sorted(old)
        assert len(rows) == ITEMS - GONE
        np.testing.assert_array_equal(vectors, self.h.apply(np.array([old[row] for row in rows.tolist()], np.float32)))
        dataset = lance.dataset(generation.path)
        assert [fragment.count_rows() for fragment in dataset.get_fragments()] == [10, 10, 10, 10, 2]
        assert generation.whole()
        assert self.done() == UnitsDone(0, 0, left=False)
        assert self.helpers() == []
