"""The service against a dictionary, one call after the other: what is stored, and what is found by which score."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.settings import Settings
from tests.chaos.crossings import crossings
from tests.chaos.history import SETTLED, Row
from tests.chaos.item_register import Moment, State, Stored, label_of, put
from tests.chaos.vectors import DIMENSION, Floats, Model, cosines, vector
from tests.e2e.user import checked
from tests.serving import serving
from tests.waiting import wait_until
from tests.workers.stepping import WorkerInside

IDS = [f"item-{number}" for number in range(6)]
PAIRS = 60
MODELS: tuple[Model, ...] = ("old", "new")
NOW = Moment(0, 1)

names = st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True)
models = st.sampled_from(MODELS)
_galleries = itertools.count()


class Against(RuleBasedStateMachine):
    """Any calls in any order. `client` and `data` are the service's."""

    client: httpx.Client
    data: Path

    @initialize()
    def register(self) -> None:
        self.gallery = f"gallery-{next(_galleries)}"
        self.items: dict[str, State] = dict.fromkeys(IDS)
        self.numbers = itertools.count(1)
        self.active = 1
        self.upgrades: dict[int, str] = {}
        checked(self.client.post("/galleries", json={"id": self.gallery, "model": "old"}), 201)

    @rule(model=models, ids=names, payload=st.booleans(), label=st.booleans())
    def put(self, model: Model, ids: list[str], payload: bool, label: bool) -> None:
        number = next(self.numbers)
        body = [
            {"id": name, "embedding": self.vector(model, name, number).tolist()}
            | ({"payload": {"write": number}} if payload else {})
            | ({"label": label_of(number)} if label else {})
            for name in ids
        ]
        url = f"/galleries/{self.gallery}/items"
        answer = self.client.put(url, params={"model": model}, json={"items": body})
        if not self.takes(model):
            assert answer.status_code in (409, 422), answer.text
            return
        done = checked(answer, 200)
        known = sum(self.items[name] is not None for name in ids)
        assert (done["inserted"], done["updated"]) == (len(ids) - known, known)
        for name in ids:
            possible = put(NOW, model, Row(name, number, payload, label)).after(self.items[name])
            self.items[name] = next(state for state in possible if self.reads_as(name, state))

    @rule(ids=names)
    def delete(self, ids: list[str]) -> None:
        done = checked(self.client.post(f"/galleries/{self.gallery}/items/delete", json={"ids": ids}), 200)
        assert done["deleted"] == sum(self.items[name] is not None for name in ids)
        self.items |= dict.fromkeys(ids)

    @precondition(lambda self: self.active == 1 and len(self.upgrades) < 2 and any(self.items.values()))
    @rule()
    def upgrade(self) -> None:
        body = {
            "to": "new",
            "method": "orthogonal",
            "dataset": "pairs",
            "galleries": [self.gallery],
            "gate": {"metric": "recall@10", "require": {"at_least": 0.0}},
        }
        upgrade = checked(self.client.post("/models/old/upgrade", json=body), 202)["id"]
        seen: dict[str, Any] = {}

        def settled() -> bool:
            seen.update(checked(self.client.get(f"/upgrades/{upgrade}")))
            return seen["state"] in SETTLED

        wait_until(settled, "the upgrade to end", last=lambda: seen)
        assert seen["state"] == "active", seen["reason"]
        self.active = len(self.upgrades) + 2
        self.upgrades[self.active] = upgrade

    @precondition(lambda self: self.active > 1)
    @rule()
    def roll_back(self) -> None:
        checked(self.client.post(f"/upgrades/{self.upgrades[self.active]}/rollback"), 200)
        self.active = 1

    @precondition(lambda self: self.upgrades)
    @rule(number=st.integers(1, 4))
    def activate(self, number: int) -> None:
        answer = self.client.post(f"/galleries/{self.gallery}/activate", json={"generation": number})
        if number == 1 or number in self.upgrades:
            assert checked(answer, 200)["active_generation"] == number
            self.active = number
        else:
            assert answer.status_code == 404, answer.text

    @rule(model=models, query=st.integers(0, 9), k=st.integers(1, 8), ids=st.none() | names)
    def search(self, model: Model, query: int, k: int, ids: list[str] | None) -> None:
        vector_of_query = vector(model, "query", query)
        only = {"filter": {"id": {"in": ids}}} if ids else {}
        body = {"gallery": self.gallery, "model": model, "k": k, "vectors": [vector_of_query.tolist()], **only}
        answer = self.client.post("/search", json=body)
        if model == "new" and self.active == 1:
            assert answer.status_code == 409, answer.text
            return
        generation = 1 if model == "old" else self.active
        found = checked(answer, 200)
        (hits,) = found["results"]
        scores = self.scores(vector_of_query, generation, ids)
        assert found["generation"] == generation
        assert len(hits) == min(k, len(scores))
        best = sorted(scores.values(), reverse=True)[:k]
        assert [hit["score"] for hit in hits] == pytest.approx(best, abs=1e-4)
        for hit in hits:
            state = self.items[hit["id"]]
            assert hit["score"] == pytest.approx(scores[hit["id"]], abs=1e-4)
            assert state is not None
            assert (hit["payload"], hit["label"]) == shown(state)

    @invariant()
    def counted(self) -> None:
        if not hasattr(self, "items"):
            return
        known = checked(self.client.get(f"/galleries/{self.gallery}"))
        assert known["active_generation"] == self.active
        assert known["items"] == sum(state is not None for state in self.items.values())

    @rule()
    def read(self) -> None:
        assert all(self.reads_as(name, state) for name, state in self.items.items())

    def takes(self, model: Model) -> bool:
        """Vectors of the new model only in a generation of its own; of the old one unless none is needed any more."""
        if model == "new":
            return self.active > 1
        kept = [state.projected(self.active) for state in self.items.values() if state is not None]
        return self.active == 1 or not kept or any(one is not None and one[0] == "old" for one in kept)

    def vector(self, model: Model, name: str, number: int) -> Floats:
        return vector(model, f"{self.gallery}/{name}", number)

    def reads_as(self, name: str, state: State) -> bool:
        """Whether an item is read as this state says."""
        answer = self.client.get(f"/galleries/{self.gallery}/items/{name}")
        if state is None:
            return answer.status_code == 404
        seen = checked(answer, 200)
        vectors = {
            model: self.vector(model, name, number).tolist()
            for model, number in zip(MODELS, (state.old, state.new), strict=True)
            if number is not None
        }
        return seen["embeddings"] == vectors and (seen["payload"], seen["label"]) == shown(state)

    def scores(self, query: Floats, generation: int, ids: list[str] | None) -> dict[str, float]:
        """The cosine of every item that can be found in a generation."""
        scores = {}
        for name, state in self.items.items():
            origin = None if state is None else state.projected(generation)
            if origin is not None and (ids is None or name in ids):
                row = self.vector(origin[0], name, origin[1])[None, :]
                if generation > 1 and origin[0] == "old":
                    row = crossings(self.data)(self.upgrades[generation], row)
                scores[name] = float(cosines(query, row)[0])
        return scores


def shown(state: Stored) -> tuple[dict[str, int] | None, str | None]:
    payload = None if state.payload is None else {"write": state.payload}
    return payload, None if state.label is None else label_of(state.label)


@contextmanager
def service(folder: Path) -> Iterator[httpx.Client]:
    """A service with the two models, and pairs to learn from."""
    given = Settings(data_dir=folder, device="cpu", heartbeat_seconds=0.3, lease_seconds=600.0)
    with ExitStack() as stack:
        client = stack.enter_context(serving(given, WorkerInside))
        for model in MODELS:
            checked(client.post("/models", json={"id": model, "dimension": DIMENSION, "metric": "cosine"}), 201)
        checked(client.post("/datasets", json={"id": "pairs"}), 201)
        rows = [
            {"id": name} | {f"embedding.{model}": vector(model, name, 0).tolist() for model in MODELS}
            for name in (f"pair-{number}" for number in range(PAIRS))
        ]
        checked(client.put("/datasets/pairs/rows", json={"rows": rows}), 200)
        yield client


def test_any_calls_one_after_the_other_do_what_a_dictionary_does(tmp_path: Path) -> None:
    with service(tmp_path) as client:
        machine = type("AgainstOne", (Against,), {"client": client, "data": tmp_path})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=6,
                stateful_step_count=30,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
