"""An upgrade's `instant` learns from the dataset's queries that nobody judged, where that helps; its report says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.settings import Settings
from tests.e2e.user import NPZ, Scene, checked, npz
from tests.serving import serving
from tests.workers.stepping import do_step
from tests.worlds import Items
from workers.rows.query_pairs import LoggedQueries

PAIRS, LOG = 60, 300


class Bench(Scene):
    """A world whose upgrades go on when the test says so."""

    crosswalk: Crosswalk

    def put_log(self, **more: Any) -> None:
        """Items that are no pairs, as queries; more: further columns."""
        items = self.world.pairs(PAIRS + LOG)
        items = items.take(np.arange(PAIRS, PAIRS + LOG))  # the pairs are the first of the same draw
        vectors = {f"embedding.{self.old}": items.old, f"embedding.{self.new}": items.new}
        body = npz(id=[f"q-{id}" for id in items.id], **vectors, **more)
        url = f"/datasets/{self.dataset}/queries"
        checked(self.client.put(url, content=body, headers={"content-type": NPZ}))

    def report(self, upgrade: str) -> dict[str, Any]:
        while self.upgrade(upgrade)["state"] not in ("evaluated", "failed"):
            do_step(self.crosswalk)
        ended = self.upgrade(upgrade)
        assert ended["state"] == "evaluated", ended["reason"]
        return dict(ended["report"])

    def learned_from_log(self, upgrade: str) -> bool:
        artifacts = UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, upgrade)
        return LoggedQueries.load(artifacts.logged) is not None


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    quick = settings.model_copy(update={"device": "cpu"})
    crosswalk = compose(quick)
    with serving(quick) as client:
        made = Bench(client)
        made.crosswalk = crosswalk
        made.filled(made.world.pairs(PAIRS))
        yield made
    crosswalk.close()


def test_instant_learns_from_queries_that_nobody_judged_and_the_report_says_so(bench: Bench) -> None:
    alone = bench.start(dry_run=True)
    without = bench.report(alone)
    assert without["learned"]["query_pairs"] is None
    assert not bench.learned_from_log(alone)
    bench.put_log()
    logged = bench.start(dry_run=True)
    learned = bench.report(logged)
    assert learned["learned"]["query_pairs"]["queries"] == LOG
    assert learned["learned"]["query_pairs"]["helps"]
    assert bench.learned_from_log(logged)
    assert learned["learned"]["pairs"] == PAIRS
    page = bench.client.get(f"/upgrades/{logged}/report", headers={"accept": "text/html"})
    assert f"{LOG} queries in vectors of both models, which nobody judged" in page.text
    quality = [
        next(rung for rung in report["galleries"][bench.gallery]["advice"] if rung["name"] == "instant")["quality"]
        for report in (without, learned)
    ]
    assert quality[1]["mean"] >= quality[0]["mean"] - 0.02


def test_queries_that_judge_are_not_learned_from(bench: Bench) -> None:
    bench.put_log(relevant=[f'["{bench.world.gallery.id[0]}"]'] * LOG)
    upgrade = bench.start(dry_run=True)
    assert bench.report(upgrade)["learned"]["query_pairs"] is None
    assert not bench.learned_from_log(upgrade)


def test_rows_of_an_evaluation_set_that_come_after_they_were_learned_from_judge_nothing(bench: Bench) -> None:
    bench.put_log()
    bench.post("/datasets", {"id": "held-out"}, 201)
    items = bench.world.pairs(PAIRS + LOG)
    others = items.take(np.arange(40))
    others.id[:] = [f"other-{row}" for row in range(40)]

    def put(some: Items) -> None:
        vectors = {f"embedding.{bench.old}": some.old, f"embedding.{bench.new}": some.new}
        body = npz(id=some.id, label=some.label, **vectors)
        checked(bench.client.put("/datasets/held-out/rows", content=body, headers={"content-type": NPZ}))

    put(others)
    upgrade = bench.start(dry_run=True, evaluation="held-out")
    assert do_step(bench.crosswalk) == "train"
    put(items.take(np.arange(PAIRS, PAIRS + 25)))
    report = bench.report(upgrade)["galleries"][bench.gallery]
    assert any("25 rows of the evaluation set are left out" in note for note in report["notes"])
    assert {stratum["queries"] for stratum in report["strata"] if stratum["judged_on"].startswith("evaluation")} <= {40}
