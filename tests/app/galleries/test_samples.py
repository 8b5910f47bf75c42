"""Samples: kept on disk, chosen once however often they are asked for, and recognised when pairs come back."""

from collections.abc import Iterator

import pytest

from app.composition import Crosswalk, compose
from app.galleries.samples import FEWEST_RECOGNISED, STEP, SampleRequest
from app.galleries.schemas import NewGallery, Sample
from app.jobs.leases import Leases
from app.jobs.tables import JobRow
from app.problems import InternalError, NotFound, Unprocessable
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database


@pytest.fixture
def crosswalk(each_settings: Settings, each_database: Database) -> Iterator[Crosswalk]:
    composed = compose(each_settings)
    composed.models.create(NewModel(id="m", dimension=2, metric="ip"))
    composed.galleries.create(NewGallery(id="g", model="m"))
    yield composed
    composed.close()


def keep(crosswalk: Crosswalk, wanted: SampleRequest, **weights: float) -> Sample:
    """What the step leaves behind."""
    sample = Sample(ids=list(weights), weights=list(weights.values()))
    path = wanted.path(crosswalk.galleries.store(crosswalk.galleries.info("g")).folder)
    path.parent.mkdir(exist_ok=True)
    path.write_text(sample.model_dump_json())
    return sample


def jobs(crosswalk: Crosswalk) -> list[JobRow]:
    with crosswalk.database.read() as session:
        return list(session.query(JobRow))


def test_sample_of_an_empty_or_unknown_gallery_is_refused(crosswalk: Crosswalk) -> None:
    with pytest.raises(Unprocessable):
        crosswalk.samples.wanted("g", 3)
    with pytest.raises(NotFound):
        crosswalk.samples.wanted("nowhere", 3)


def test_asking_again_waits_for_the_first_job(crosswalk: Crosswalk) -> None:
    wanted = SampleRequest("g", "g-1", 1, 3)
    assert crosswalk.samples.find(wanted) is None
    for _ in range(3):
        crosswalk.samples.ask(wanted)
    crosswalk.samples.ask(SampleRequest("g", "g-1", 1, 4))
    queued = jobs(crosswalk)
    assert [job.step for job in queued] == [STEP, STEP]
    assert queued[0].arguments == {"gallery": "g", "folder": "g-1", "version": 1, "n": 3}
    kept = keep(crosswalk, wanted, a=0.75, b=0.25)
    assert crosswalk.samples.find(wanted) == kept


def test_the_database_tells_when_a_sample_was_chosen(crosswalk: Crosswalk) -> None:
    wanted = SampleRequest("g", "g-1", 1, 3)
    assert not crosswalk.samples.chosen(wanted)
    crosswalk.samples.ask(wanted)
    assert not crosswalk.samples.chosen(wanted)
    leases = Leases(crosswalk.database, crosswalk.settings, crosswalk.step_failed)
    lease = leases.claim([STEP])
    assert lease is not None
    leases.finish(lease, lambda _session: None)
    assert crosswalk.samples.chosen(wanted)
    assert not crosswalk.samples.chosen(SampleRequest("g", "g-1", 2, 3))
    crosswalk.galleries.delete("g")
    with pytest.raises(NotFound):
        crosswalk.samples.chosen(wanted)


def test_sample_that_could_not_be_chosen_says_why(crosswalk: Crosswalk) -> None:
    crosswalk.samples.ask(SampleRequest("g", "g-1", 1, 3))
    leases = Leases(crosswalk.database, crosswalk.settings, crosswalk.step_failed)
    lease = leases.claim([STEP])
    assert lease is not None
    leases.fail(lease, "no room")
    for told in (crosswalk.samples.ask, crosswalk.samples.chosen):
        with pytest.raises(InternalError, match="no room"):
            told(SampleRequest("g", "g-1", 1, 3))


def items(*letters: str) -> list[str]:
    """As many items of each letter as it takes to recognise a sample by them."""
    return [f"{letter}{place}" for letter in letters for place in range(FEWEST_RECOGNISED)]


def weighing(**of_letter: float) -> dict[str, float]:
    return {item: weight for letter, weight in of_letter.items() for item in items(letter)}


def test_weights_are_those_of_the_sample_that_the_pairs_came_from(crosswalk: Crosswalk) -> None:
    info, n = crosswalk.galleries.info("g"), 2 * FEWEST_RECOGNISED
    assert crosswalk.samples.weights(info, items("a")) is None
    keep(crosswalk, SampleRequest("g", "g-1", 1, n), **weighing(a=0.75, b=0.25))
    keep(crosswalk, SampleRequest("g", "g-1", 2, n), **weighing(b=0.5, c=0.5))
    assert crosswalk.samples.weights(info, items("a")) == weighing(a=0.75)
    assert crosswalk.samples.weights(info, items("c", "b")) == weighing(b=0.5, c=0.5)
    of_two_alike_the_newest = weighing(b=0.5, c=0.5)
    assert crosswalk.samples.weights(info, items("a", "b", "c", "d")) == of_two_alike_the_newest
    assert crosswalk.samples.weights(info, items("s")) is None


def test_pairs_beside_a_sample_do_not_cost_its_pairs_their_weights(crosswalk: Crosswalk) -> None:
    keep(crosswalk, SampleRequest("g", "g-1", 9, 4 * FEWEST_RECOGNISED), **weighing(a=0.4, b=0.3, c=0.2, d=0.1))
    keep(crosswalk, SampleRequest("g", "g-1", 10, FEWEST_RECOGNISED), **weighing(e=1.0))
    pairs = items("a", "b", "c", "e", *"fghijklmn")
    assert crosswalk.samples.weights(crosswalk.galleries.info("g"), pairs) == weighing(a=0.4, b=0.3, c=0.2)


def test_pairs_drawn_at_random_are_of_no_sample_though_they_meet_some_of_it(crosswalk: Crosswalk) -> None:
    keep(crosswalk, SampleRequest("g", "g-1", 1, 4 * FEWEST_RECOGNISED), **weighing(a=0.4, b=0.3, c=0.2, d=0.1))
    info = crosswalk.galleries.info("g")
    assert crosswalk.samples.weights(info, items("a", "x", "y", "z")) is None
    assert crosswalk.samples.weights(info, items("a", "b", "y", "z")) == weighing(a=0.4, b=0.3)


def test_a_few_pairs_that_a_sample_holds_too_are_of_it_by_chance(crosswalk: Crosswalk) -> None:
    keep(crosswalk, SampleRequest("g", "g-1", 1, 1), a0=1.0)
    assert crosswalk.samples.weights(crosswalk.galleries.info("g"), items("a", "b")) is None
