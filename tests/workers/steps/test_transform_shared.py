"""A gallery transformed by several workers at once: helpers that come, die, come back late, and give way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import lance
import numpy as np
import pytest
from sqlalchemy import select, update

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.jobs.leases import LeaseLost, Leases
from app.jobs.tables import JobRow
from app.jobs.values import JobState
from app.settings import Settings
from app.storage.database import utc_now
from app.upgrades.states import UpgradeState
from app.upgrades.transform_units import HELP, TransformUnit, UnitsDone
from models.portable import save_transformation
from tests.app.crossings import affine
from tests.serving import serving
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
class Shared:
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

    def is_transformed(self) -> None:
        """Every item is there once, in the new space, in units of which each was written once; nothing is left over."""
        info = self.crosswalk.galleries.info("g")
        store = self.crosswalk.galleries.store(info)
        generation = store.generation(2, 2)
        (table,) = (batch for batch in [store.items.where("true")])
        old = {row["_rowid"]: row["embedding@old"] for row in table.to_pylist()}
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


@pytest.fixture
def shared(each_settings: Settings) -> Iterator[Shared]:
    settings = each_settings.model_copy(update={"transform_unit_rows": UNIT_ROWS, "heartbeat_seconds": 600.0})
    crosswalk = compose(settings)
    with serving(settings) as client:
        yield Shared(client, crosswalk)
    crosswalk.close()


def test_one_worker_does_all_units_and_needs_no_helper(shared: Shared) -> None:
    do_step(shared.crosswalk, ["transform"])
    shared.is_transformed()


def test_a_helper_that_comes_midway_takes_units_off_the_step(shared: Shared) -> None:
    shared.plan()
    assert shared.done() == UnitsDone(0, ITEMS - GONE, left=True)
    assert shared.helpers() == [JobState.QUEUED] * (UNITS - 1)
    seen: list[tuple[int, int]] = []
    assert shared.help(lambda unit, done: seen.append((unit.number, done)))
    assert seen == [(0, UNIT_ROWS)]
    assert shared.done() == UnitsDone(UNIT_ROWS, ITEMS - GONE, left=True)
    do_step(shared.crosswalk, [HELP])
    assert shared.done() == UnitsDone(ITEMS - GONE, ITEMS - GONE, left=False)
    assert JobState.QUEUED not in shared.helpers()  # it found nothing more, and sent home who would find nothing either
    shared.resume()
    shared.is_transformed()


def test_a_helper_that_is_gone_costs_its_unit_and_comes_too_late_once_all_is_done(shared: Shared) -> None:
    shared.plan()

    def sleep_until_all_is_done(_unit: TransformUnit, _done: int) -> None:
        shared.resume()

    with pytest.raises(LeaseLost):
        shared.help(sleep_until_all_is_done)
    shared.is_transformed()


def test_of_two_that_did_the_same_unit_the_result_of_whoever_holds_it_is_kept(shared: Shared) -> None:
    shared.plan()
    others: list[list[str]] = []

    def sleep_while_another_does_it(_unit: TransformUnit, _done: int) -> None:
        if not others:
            others.append([])
            shared.expire()
            again: list[int] = []
            with shared.holding("transform") as step:
                assert UnitWork(step, shared.crosswalk, "u").do_next(lambda unit, _: again.append(unit.number))
            assert again == [0]
            others[0] += pieces(shared)

    assert shared.help(sleep_while_another_does_it)
    assert pieces(shared) == others[0]
    assert len(others[0]) == 1
    shared.resume()
    shared.is_transformed()


def pieces(shared: Shared) -> list[str]:
    with shared.crosswalk.database.read() as session:
        return shared.crosswalk.transform_units.pieces(session, "u", "g")


def test_cancelled_upgrade_sends_its_helpers_home(shared: Shared) -> None:
    shared.plan()

    def cancel(_unit: TransformUnit, _done: int) -> None:
        shared.post("/upgrades/u/cancel", {})

    with pytest.raises(LeaseLost):
        shared.help(cancel)
    assert shared.done() == UnitsDone(0, 0, left=False)
    assert shared.helpers() == []


def test_a_helper_gives_way_to_other_work_and_stands_in_line_again(shared: Shared) -> None:
    shared.plan()
    with shared.crosswalk.database.session() as session:
        shared.crosswalk.jobs.enqueue(session, "index", "another")
    do_step(shared.crosswalk, [HELP])
    assert shared.done() == UnitsDone(UNIT_ROWS, ITEMS - GONE, left=True)
    assert sorted(shared.helpers()) == [JobState.QUEUED] * (UNITS - 1) + [JobState.SUCCEEDED]


def test_a_helper_that_fails_does_not_fail_the_upgrade(shared: Shared) -> None:
    shared.plan()
    with shared.holding(HELP) as context:
        context.fail("this machine is broken")
    assert shared.client.get("/upgrades/u").json()["state"] == "transforming"
    shared.resume()
    shared.is_transformed()


def test_whoever_lost_the_job_does_not_commit(shared: Shared) -> None:
    with shared.holding("transform") as late:
        shared.resume()
        with pytest.raises(LeaseLost), late.holding():
            raise AssertionError("it committed over what another has gone on from")
    shared.is_transformed()
