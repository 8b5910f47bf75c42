"""A gallery transformed by several workers at once: helpers that come, die, come back late, and give way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.composition import compose
from app.jobs.leases import LeaseLost
from app.jobs.values import JobState
from app.settings import Settings
from app.upgrades.transform_units import HELP, TransformUnit, UnitsDone
from tests.serving import serving
from tests.workers.stepping import do_step
from tests.workers.steps.shared_transformation import GONE, ITEMS, UNIT_ROWS, UNITS, SharedTransformation
from workers.serving.transforming import UnitWork


@pytest.fixture
def shared(each_settings: Settings) -> Iterator[SharedTransformation]:
    settings = each_settings.model_copy(update={"transform_unit_rows": UNIT_ROWS, "heartbeat_seconds": 600.0})
    crosswalk = compose(settings)
    with serving(settings) as client:
        yield SharedTransformation(client, crosswalk)
    crosswalk.close()


def test_one_worker_does_all_units_and_needs_no_helper(shared: SharedTransformation) -> None:
    do_step(shared.crosswalk, ["transform"])
    shared.is_transformed()


def test_a_helper_that_comes_midway_takes_units_off_the_step(shared: SharedTransformation) -> None:
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


def test_a_helper_that_is_gone_costs_its_unit_and_comes_too_late_once_all_is_done(shared: SharedTransformation) -> None:
    shared.plan()

    def sleep_until_all_is_done(_unit: TransformUnit, _done: int) -> None:
        shared.resume()

    with pytest.raises(LeaseLost):
        shared.help(sleep_until_all_is_done)
    shared.is_transformed()


def test_of_two_that_did_the_same_unit_the_result_of_whoever_holds_it_is_kept(shared: SharedTransformation) -> None:
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
            others[0] += shared.pieces()

    assert shared.help(sleep_while_another_does_it)
    assert shared.pieces() == others[0]
    assert len(others[0]) == 1
    shared.resume()
    shared.is_transformed()


def test_cancelled_upgrade_sends_its_helpers_home(shared: SharedTransformation) -> None:
    shared.plan()

    def cancel(_unit: TransformUnit, _done: int) -> None:
        shared.post("/upgrades/u/cancel", {})

    with pytest.raises(LeaseLost):
        shared.help(cancel)
    assert shared.done() == UnitsDone(0, 0, left=False)
    assert shared.helpers() == []


def test_a_helper_gives_way_to_other_work_and_stands_in_line_again(shared: SharedTransformation) -> None:
    shared.plan()
    with shared.crosswalk.database.session() as session:
        shared.crosswalk.jobs.enqueue(session, "index", "another")
    do_step(shared.crosswalk, [HELP])
    assert shared.done() == UnitsDone(UNIT_ROWS, ITEMS - GONE, left=True)
    assert sorted(shared.helpers()) == [JobState.QUEUED] * (UNITS - 1) + [JobState.SUCCEEDED]


def test_a_helper_that_fails_does_not_fail_the_upgrade(shared: SharedTransformation) -> None:
    shared.plan()
    with shared.holding(HELP) as context:
        context.fail("this machine is broken")
    assert shared.client.get("/upgrades/u").json()["state"] == "transforming"
    shared.resume()
    shared.is_transformed()


def test_whoever_lost_the_job_does_not_commit(shared: SharedTransformation) -> None:
    with shared.holding("transform") as late:
        shared.resume()
        with pytest.raises(LeaseLost), late.holding():
            raise AssertionError("it committed over what another has gone on from")
    shared.is_transformed()
