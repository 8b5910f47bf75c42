from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from threading import Event

import pytest
from sqlalchemy import Column, MetaData, String, Table, insert, select, text
from sqlalchemy.orm import Session

from app.jobs.leases import CancelRequested, LeaseLost, Leases
from app.jobs.tables import JobRow
from app.jobs.values import JobProgress, JobState, Lease
from app.settings import Settings
from app.storage.database import Database
from tests.app.jobs.conftest import STEPS, JobsWorld
from tests.waiting import PATIENCE_SECONDS, wait_until


def claimed(world: JobsWorld) -> Lease:
    lease = world.leases.claim(STEPS)
    assert lease is not None
    return lease


def cancel(world: JobsWorld) -> bool:
    with world.database.session() as session:
        return world.jobs.request_cancel(session, "s")


def never(session: Session) -> None:
    raise AssertionError("nothing may be applied")


def test_lease_says_what_to_do(world: JobsWorld) -> None:
    job = world.enqueue("s", number=1)
    lease = claimed(world)
    assert (lease.job_id, lease.step, lease.subject, lease.arguments) == (job.id, "work", "s", {"number": 1})
    assert (lease.attempt, lease.checkpoint) == (1, {})
    assert world.leases.taken(lease.job_id, lease.token) == lease


def test_held_job_is_not_claimed_again(world: JobsWorld) -> None:
    world.enqueue()
    claimed(world)
    assert world.leases.claim(STEPS) is None


def test_jobs_are_claimed_oldest_first(world: JobsWorld) -> None:
    expected = [world.enqueue().id for _ in range(3)]
    assert [claimed(world).job_id for _ in range(3)] == expected


def test_step_that_the_worker_does_not_know_is_left_for_another(world: JobsWorld) -> None:
    world.enqueue()
    assert world.leases.claim(["other"]) is None
    assert claimed(world).step == "work"


def test_many_threads_claim_each_job_once(world: JobsWorld) -> None:
    expected = {world.enqueue(f"s{number}").id for number in range(20)}

    def claim_all(_: int) -> list[str]:
        # Rows locked by others are skipped, so that one look may find nothing while work remains.
        leases = [world.leases.claim(STEPS) for _ in range(60)]
        return [lease.job_id for lease in leases if lease is not None]

    with ThreadPoolExecutor(8) as threads:
        counts = Counter(job for got in threads.map(claim_all, range(8)) for job in got)
    assert counts == Counter(expected)


def test_many_processes_claim_each_job_once(world: JobsWorld) -> None:
    expected = {world.enqueue(f"s{number}").id for number in range(20)}
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as processes:
        counts = Counter(job for got in processes.map(claim_all_from, [world.database.url] * 3) for job in got)
    assert counts == Counter(expected)


def claim_all_from(url: str) -> list[str]:
    # A process may be started when others have long claimed all: no lease is to be over by then.
    leases = Leases(Database(url), Settings(lease_seconds=600.0), lambda session, subject, reason: None)
    return [lease.job_id for lease in (leases.claim(STEPS) for _ in range(60)) if lease is not None]


def test_expired_lease_goes_to_another_with_the_checkpoint(world: JobsWorld) -> None:
    world.enqueue()
    first = claimed(world)
    world.leases.checkpoint(first, {"rows": 500})
    world.an_hour_passes()
    second = claimed(world)
    assert (second.job_id, second.attempt, second.checkpoint) == (first.job_id, 2, {"rows": 500})
    assert second.token != first.token


def test_renewed_lease_does_not_expire(world: JobsWorld) -> None:
    world.enqueue()
    lease = claimed(world)
    world.an_hour_passes()
    assert world.leases.renew(lease) is False
    assert world.leases.claim(STEPS) is None


def test_a_renewal_that_had_to_wait_does_not_set_the_progress_back(world: JobsWorld) -> None:
    world.enqueue()
    lease, done = claimed(world), 1

    def told() -> JobProgress:
        return JobProgress(step="work", done=done, total=9, eta_seconds=None)

    with ThreadPoolExecutor(1) as heartbeat:
        with world.leases.holding(lease) as session:
            renewing = heartbeat.submit(world.leases.renew, lease, told)
            wait_for_a_lock(world, session)
            done = 2
        renewing.result(PATIENCE_SECONDS)
    assert world.job().progress == told()


def wait_for_a_lock(world: JobsWorld, session: Session) -> None:
    """Returns when another transaction waits for this one; SQLite does not tell who waits for its one writer."""
    if world.database.engine.dialect.name == "postgresql":
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        wait_until(lambda: session.scalar(waiting), "another to wait")


def test_holder_of_a_lost_lease_can_change_nothing(world: JobsWorld) -> None:
    world.enqueue()
    lost = claimed(world)
    world.an_hour_passes()
    claimed(world)
    before = world.job()
    for attempt in (
        lambda: world.leases.taken(lost.job_id, lost.token),
        lambda: world.leases.renew(lost, lambda: JobProgress(step="work", done=9, total=9, eta_seconds=0.0)),
        lambda: world.leases.checkpoint(lost, {"rows": 9}),
        lambda: world.leases.finish(lost, never),
        lambda: world.leases.fail(lost, "because"),
        lambda: world.leases.release(lost, "because"),
        lambda: world.leases.hand_back(lost),
        lambda: world.leases.cancel_requested(lost),
    ):
        with pytest.raises(LeaseLost):
            attempt()
    assert world.job() == before


@pytest.mark.parametrize("each_settings", ["postgresql"], indirect=True)
def test_lease_lost_while_results_are_applied_takes_them_back(world: JobsWorld) -> None:
    """Between the look at the lease and the lock on it: what was applied is undone with everything else.

    SQLite has one writer at a time: there nobody can claim while results are applied.
    """
    world.enqueue()
    slow = claimed(world)
    world.an_hour_passes()

    def apply(session: Session) -> None:
        world.jobs.enqueue(session, "work", "next")
        claimed(world)

    with pytest.raises(LeaseLost):
        world.leases.finish(slow, apply)
    with world.database.read() as session:
        assert world.jobs.of(session, "next") == []
    assert world.job().state == JobState.RUNNING


def test_results_and_success_are_one_transaction(world: JobsWorld) -> None:
    world.enqueue()
    lease = claimed(world)

    def broken(session: Session) -> None:
        world.jobs.enqueue(session, "work", "next")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.leases.finish(lease, broken)
    assert world.job().state == JobState.RUNNING

    def whole(session: Session) -> None:
        world.jobs.enqueue(session, "work", "next")

    world.leases.finish(lease, whole)
    assert world.job().state == JobState.SUCCEEDED
    assert world.job("next").state == JobState.QUEUED
    with pytest.raises(LeaseLost):
        world.leases.finish(lease, never)


def test_cancel_that_waits_for_a_finishing_step_reaches_what_the_step_enqueued(world: JobsWorld) -> None:
    """Both lock the subject first: neither blocks the other for good, and nothing slips through between them."""
    subjects = Table("locked_subjects", MetaData(), Column("id", String(8), primary_key=True))
    subjects.create(world.database.engine)
    with world.database.session() as session:
        session.execute(insert(subjects).values(id="s"))
    world.enqueue()
    lease = claimed(world)

    asking = Event()

    def lock_and_cancel() -> None:
        asking.set()
        with world.database.session() as session:
            session.execute(select(subjects).with_for_update())
            world.jobs.request_cancel(session, "s")

    with ThreadPoolExecutor(1) as thread:
        cancelling: list[Future[None]] = []

        def apply(session: Session) -> None:
            session.execute(select(subjects).with_for_update())
            world.jobs.enqueue(session, "work", "s")
            cancelling.append(thread.submit(lock_and_cancel))
            assert asking.wait(PATIENCE_SECONDS)
            wait_for_a_lock(world, session)

        world.leases.finish(lease, apply)
        cancelling[0].result(PATIENCE_SECONDS)
    with world.database.read() as session:
        states = [job.state for job in world.jobs.of(session, "s")]
    assert states == [JobState.SUCCEEDED, JobState.CANCELLED]


def test_crashed_job_waits_and_is_tried_again(world: JobsWorld) -> None:
    world.enqueue()
    assert world.leases.release(claimed(world), "it crashed") == JobState.QUEUED
    assert (world.job().error, world.job().attempts) == ("it crashed", 1)
    world.an_hour_passes()
    lease = claimed(world)
    world.leases.finish(lease, lambda session: None)
    assert (world.job().state, world.job().error) == (JobState.SUCCEEDED, None)


def test_back_off_keeps_a_crashed_job_from_being_tried_at_once(world: JobsWorld) -> None:
    world.enqueue()
    lease = claimed(world)
    world.leases.release(lease, "it crashed")
    before = world.job()
    with world.database.session() as session:
        (row,) = session.query(JobRow)
        assert row.available_at > before.created_at


def test_job_that_always_crashes_fails_with_the_reason_and_tells_its_subject(world: JobsWorld) -> None:
    world.enqueue()
    for expected in (JobState.QUEUED, JobState.QUEUED, JobState.FAILED):
        assert world.leases.release(claimed(world), "it crashed") == expected
        world.an_hour_passes()
    reason = "it crashed (attempt 3 of 3)"
    assert world.told == [("s", reason)]
    assert world.job().error == reason
    assert world.leases.claim(STEPS) is None


def test_job_of_which_few_attempts_are_worthwhile_fails_after_those(world: JobsWorld) -> None:
    world.enqueue()
    for expected in (JobState.QUEUED, JobState.FAILED):
        assert world.leases.release(claimed(world), "it crashed", most_attempts=2) == expected
        world.an_hour_passes()
    assert world.told == [("s", "it crashed (attempt 2 of 2)")]


def test_job_that_has_had_more_attempts_than_are_worthwhile_fails_at_once(world: JobsWorld) -> None:
    world.enqueue()
    for most, expected in ((None, JobState.QUEUED), (None, JobState.QUEUED), (2, JobState.FAILED)):
        assert world.leases.release(claimed(world), "it crashed", most_attempts=most) == expected
        world.an_hour_passes()
    assert world.told == [("s", "it crashed (attempt 3 of 3)")]


def test_job_whose_workers_always_vanish_is_given_up_on(world: JobsWorld) -> None:
    world.enqueue()
    for _ in range(3):
        claimed(world)
        world.leases.bury()
        assert world.told == []
        world.an_hour_passes()
    assert world.leases.claim(STEPS) is None
    world.leases.bury()
    assert world.job().state == JobState.FAILED
    assert world.told == [("s", "The worker vanished during 'work', attempt 3 of 3.")]


def test_permanent_failure_is_not_tried_again(world: JobsWorld) -> None:
    world.enqueue()
    assert world.leases.fail(claimed(world), "no pairs in the dataset") == JobState.FAILED
    assert world.told == [("s", "no pairs in the dataset")]
    world.an_hour_passes()
    assert world.leases.claim(STEPS) is None


def test_handing_back_costs_no_attempt(world: JobsWorld) -> None:
    world.enqueue()
    for _ in range(5):
        lease = claimed(world)
        assert lease.attempt == 1
        world.leases.hand_back(lease)


def test_cancelled_job_can_not_finish(world: JobsWorld) -> None:
    world.enqueue()
    lease = claimed(world)
    assert cancel(world) is True
    assert world.leases.renew(lease) is True
    assert world.leases.cancel_requested(lease) is True
    with pytest.raises(CancelRequested):
        world.leases.finish(lease, never)


@pytest.mark.parametrize("end", ["release", "fail", "hand_back", "bury"])
def test_cancelled_job_ends_as_cancelled_however_it_is_let_go(world: JobsWorld, end: str) -> None:
    world.enqueue()
    lease = claimed(world)
    cancel(world)
    match end:
        case "release":
            world.leases.release(lease, "killed")
        case "fail":
            world.leases.fail(lease, "killed")
        case "hand_back":
            world.leases.hand_back(lease)
        case "bury":
            world.an_hour_passes()
            assert world.leases.claim(STEPS) is None
            world.leases.bury()
    assert world.job().state == JobState.CANCELLED
    assert world.told == []


def test_while_a_holder_is_at_what_only_a_holder_may_do_nobody_claims_its_job(world: JobsWorld) -> None:
    world.enqueue()
    lease = claimed(world)
    world.an_hour_passes()
    with ThreadPoolExecutor(1) as pool:
        with world.leases.holding(lease):
            other = pool.submit(world.leases.claim, STEPS)
        assert other.result(PATIENCE_SECONDS) is None  # the lease was renewed
    world.an_hour_passes()
    claimed(world)
    with pytest.raises(LeaseLost), world.leases.holding(lease):
        raise AssertionError("another holds the job")
