from app.jobs.values import JobProgress, JobState, sortable_id
from tests.app.jobs.conftest import STEPS, JobsWorld


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [sortable_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [one[:12] for one in ids] == sorted(one[:12] for one in ids)
    assert {len(one) for one in ids} == {32}


def test_job_is_rung_only_after_the_commit(world: JobsWorld) -> None:
    with world.database.session() as session:
        world.jobs.enqueue(session, "work", "s")
        assert world.rings == []
    assert world.rings == ["ring"]


def test_savepoint_does_not_ring_before_the_outermost_commit(world: JobsWorld) -> None:
    with world.database.session() as session:
        with session.begin_nested():
            world.jobs.enqueue(session, "work", "s")
        assert world.rings == []
    assert world.rings == ["ring"]


def test_rolled_back_job_is_neither_rung_nor_there(world: JobsWorld) -> None:
    with world.database.session() as session:
        world.jobs.enqueue(session, "work", "s")
        session.rollback()
    assert world.rings == []
    assert world.leases.claim(STEPS) is None


def test_job_is_stored_as_it_was_given(world: JobsWorld) -> None:
    given = world.enqueue("s", number=1, nested={"list": [1, 2.5, "three", None]})
    stored = world.job()
    assert stored == given
    assert (stored.state, stored.attempts, stored.checkpoint, stored.error) == (JobState.QUEUED, 0, {}, None)
    assert stored.arguments == {"number": 1, "nested": {"list": [1, 2.5, "three", None]}}


def test_progress_is_of_the_unfinished_step(world: JobsWorld) -> None:
    world.enqueue()
    lease = world.leases.claim(STEPS)
    assert lease is not None
    with world.database.read() as session:
        assert world.jobs.progress(session, "s") == JobProgress(step="work", done=0, total=0, eta_seconds=None)
    world.leases.renew(lease, lambda: JobProgress(step="work", done=3, total=10, eta_seconds=7.5))
    with world.database.read() as session:
        assert world.jobs.progress(session, "s") == JobProgress(step="work", done=3, total=10, eta_seconds=7.5)
    world.leases.finish(lease, lambda session: None)
    with world.database.read() as session:
        assert world.jobs.progress(session, "s") is None


def test_cancelled_queued_job_is_never_claimed(world: JobsWorld) -> None:
    world.enqueue()
    with world.database.session() as session:
        assert world.jobs.request_cancel(session, "s") is False
    assert world.job().state == JobState.CANCELLED
    assert world.leases.claim(STEPS) is None


def test_cancel_leaves_other_subjects_and_ended_jobs_alone(world: JobsWorld) -> None:
    world.enqueue("done")
    lease = world.leases.claim(STEPS)
    assert lease is not None
    world.leases.finish(lease, lambda session: None)
    world.enqueue("other")
    with world.database.session() as session:
        assert world.jobs.request_cancel(session, "done") is False
    assert world.job("done").state == JobState.SUCCEEDED
    assert world.job("other").state == JobState.QUEUED


def test_cancel_rolled_back_cancels_nothing(world: JobsWorld) -> None:
    world.enqueue()
    with world.database.session() as session:
        world.jobs.request_cancel(session, "s")
        session.rollback()
    assert world.job().state == JobState.QUEUED
