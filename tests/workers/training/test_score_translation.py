"""What thresholds become is learned with the crossing, and told by the service from then on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from app.composition import Crosswalk, compose
from app.settings import Settings
from tests.command import run_command
from tests.e2e.user import NPZ, Scene, checked, npz, problem
from tests.serving import serving
from tests.workers.stepping import do_step
from tests.worlds import NEW

SETTLED = ("active", "evaluated", "rejected", "failed")


class Bench(Scene):
    """A world whose upgrades go on when the test says so."""

    crosswalk: Crosswalk

    def ends(self, upgrade: str) -> None:
        while self.upgrade(upgrade)["state"] not in SETTLED:
            do_step(self.crosswalk)

    def kept(self, model: str, threshold: float) -> float:
        """How many items a query of the world finds that score at least so much."""
        answer = self.ask(model, 500, min_score=str(threshold))
        return float(np.mean([len(found) for found in answer.ids]))


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    quick = settings.model_copy(update={"device": "cpu"})
    crosswalk = compose(quick)
    with serving(quick) as client:
        made = Bench(client)
        made.crosswalk = crosswalk
        yield made
    crosswalk.close()


def test_a_translated_threshold_keeps_as_many_items_in_the_new_search_as_in_the_old(bench: Bench) -> None:
    bench.filled()
    upgrade = bench.start()
    url = f"/upgrades/{upgrade}/scores"
    early = problem(bench.client.get(url, params={"old": 0.7}), 409, "wrong-state")
    assert "still queued" in early["detail"]
    before = {threshold: bench.kept(bench.old, threshold) for threshold in (0.6, 0.8)}
    bench.ends(upgrade)
    for threshold, many in before.items():
        told = bench.get(url, old=threshold)
        assert (told["from"], told["to"], told["route"], told["old"]) == (
            bench.old,
            bench.new,
            "transformed",
            threshold,
        )
        assert bench.kept(bench.new, told["new"]) == pytest.approx(many, rel=0.3)
        assert not told["extrapolated"]
        back = bench.get(url, new=told["new"])
        assert back["old"] == pytest.approx(threshold, abs=0.01)
        assert bench.get(url, old=threshold, route="instant")["route"] == "instant"
    beyond = bench.get(url, old=3)
    assert beyond["extrapolated"]
    assert beyond["new"] == bench.get(url, old=beyond["seen"]["high"])["new"]

    learned = bench.get(f"/upgrades/{upgrade}/report")["learned"]["scores"]
    for of_route in learned["routes"].values():
        for kept in of_route["kept"]:
            assert kept["after"] == pytest.approx(kept["before"], rel=0.3)
    page = bench.client.get(f"/upgrades/{upgrade}/report", headers={"accept": "text/html"}).text
    assert "What thresholds become" in page

    printed = run_command("upgrades", "scores", upgrade, "--old", "0.7", "--url", str(bench.client.base_url))
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout) == bench.get(url, old=0.7)

    for wrong in ("", "old=0.7&new=0.7", "old=nan", "old=0.7&route=fused"):
        problem(bench.client.get(f"{url}?{wrong}"), 422, "validation-error")
    problem(bench.client.get("/upgrades/upg-none/scores", params={"old": 0.7}), 404, "not-found")


def test_where_queries_are_embedded_apart_thresholds_are_told_by_real_queries_alone(bench: Bench) -> None:
    apart = f"{bench.new}-apart"
    bench.post("/models", {"id": apart, "dimension": NEW, "metric": "cosine", "queries": "apart"}, 201)
    bench.put(bench.world.gallery)
    pairs, asked = bench.world.pairs(200), bench.world.queries
    put = partial(bench.client.put, headers={"content-type": NPZ})
    checked(put(f"/datasets/{bench.dataset}/rows", content=npz(id=pairs.id, **{f"embedding.{apart}": pairs.new})))

    def learned() -> str:
        upgrade = bench.start(to=apart, dry_run=True)
        do_step(bench.crosswalk)
        bench.post(f"/upgrades/{upgrade}/cancel")
        return f"/upgrades/{upgrade}/scores"

    none = problem(bench.client.get(learned(), params={"old": 0.7}), 409, "wrong-state")
    assert f"/datasets/{bench.dataset}/queries" in none["detail"]
    vectors = {f"embedding.{bench.old}": asked.old, f"embedding.{apart}": asked.new}
    checked(put(f"/datasets/{bench.dataset}/queries", content=npz(id=asked.id, **vectors)))
    told = bench.get(learned(), old=0.7)
    assert 0 < told["new"] < 1


def test_of_too_few_pairs_nothing_is_said(bench: Bench) -> None:
    bench.filled(bench.world.pairs(9))
    upgrade = bench.start(dry_run=True)
    do_step(bench.crosswalk)
    few = problem(bench.client.get(f"/upgrades/{upgrade}/scores", params={"old": 0.7}), 409, "wrong-state")
    assert "too little" in few["detail"]
