"""kill -9 at each failpoint, once, in the embedded arrangement. `python -m tests.crash.matrix` kills far more often."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.failpoints import Failpoint
from tests.crash.arrangements import Embedded
from tests.crash.matrix import LivedStage, Verdict, bounded, disturb, live
from tests.zygote import Zygote

AT_ONCE = 2
"""Lives that are lived side by side."""
SHARES = 4
"""Tests that the deaths are dealt out to: on a slow machine all of them take longer than any one test may."""


@dataclass(frozen=True)
class Undisturbed:
    zygote: Zygote
    lived: list[LivedStage]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    zygote = Zygote("tests.crash.programs")
    yield Undisturbed(zygote, live(zygote, Embedded(), tmp_path_factory.mktemp("life")))
    zygote.close()


def test_every_failpoint_is_reached_in_a_life(undisturbed: Undisturbed) -> None:
    reached = {point for one in undisturbed.lived for _, point in one.reached}
    # In a life without a death no lease is released: what its data fails is failed at once. Its gallery is our own.
    elsewhere = {point for point in Failpoint if point.startswith(("store.", "embedding."))}
    assert set(Failpoint) - reached == {Failpoint.LEASE_RELEASED, Failpoint.INDEX_COLLECTION_LOADED, *elsewhere}


@pytest.mark.parametrize("share", range(SHARES))
def test_a_life_with_a_death_at_each_failpoint_ends_as_the_undisturbed_one(
    undisturbed: Undisturbed, tmp_path: Path, share: int
) -> None:
    """Items and vectors to the bit, searches with their scores, generations, upgrades with their reports, files."""
    cases = bounded(undisturbed.lived)[share::SHARES]

    def lived(number: int) -> Verdict:
        return disturb(undisturbed.zygote, Embedded(), tmp_path / str(number), cases[number])

    with ThreadPoolExecutor(AT_ONCE) as pool:  # each waits for processes much of the time
        verdicts = list(pool.map(lived, range(len(cases))))
    assert {str(verdict.case): verdict.faults for verdict in verdicts if verdict.faults} == {}
