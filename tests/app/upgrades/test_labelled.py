"""What could only be rejected, since nothing says which answers are right, is refused when it is asked for."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from app.cli.gate import gate_body
from app.settings import Settings
from tests.command import run_command
from tests.e2e.user import checked, problem
from tests.serving import serving
from tests.vector_table import TABLE, VectorTable, connections_file

VECTOR = {"old": [1.0, 0.0], "new": [0.0, 1.0, 0.0]}
NAMES = [f"i{place}" for place in range(12)]
ASKED: dict[str, Any] = {"to": "new", "dataset": "pairs", "galleries": ["shop"], "method": "orthogonal"}
AGREEMENT = {"metric": "recall@10", "require": {"at_least": 0.7}}


def _filled(client: httpx.Client, **gallery: Any) -> httpx.Client:
    """Two models, and a dataset of pairs, nothing of which has a label; gallery: of `shop`, beside its id."""
    for model, vector in VECTOR.items():
        checked(client.post("/models", json={"id": model, "dimension": len(vector), "metric": "cosine"}))
    checked(client.post("/galleries", json={"id": "shop", "model": "old", **gallery}))
    for dataset in ("pairs", "judged"):
        checked(client.post("/datasets", json={"id": dataset}))
    _rows(client)
    return client


def _rows(client: httpx.Client, dataset: str = "pairs", **more: str) -> None:
    checked(client.put(f"/datasets/{dataset}/rows", json=[{"id": one, "embeddings": VECTOR, **more} for one in NAMES]))


def _items(client: httpx.Client, **more: str) -> None:
    items = [{"id": one, "embedding": VECTOR["old"], **more} for one in NAMES]
    checked(client.put("/galleries/shop/items?model=old", json=items))


@pytest.fixture
def shop(client: httpx.Client) -> httpx.Client:
    _filled(client)
    _items(client)
    return client


def _refused(client: httpx.Client, **changes: Any) -> str:
    refusal = problem(client.post("/models/old/upgrade", json=ASKED | changes), 422, "validation-error")
    assert refusal["errors"][0]["pointer"] == "/gate/metric"
    assert checked(client.get("/upgrades"))["items"] == []
    return str(refusal["detail"])


def _started(client: httpx.Client, **changes: Any) -> None:
    checked(client.post("/models/old/upgrade", json=ASKED | changes), 202)


@pytest.mark.parametrize("gate", [{}, {"metric": "map"}, {"metric": "cmc@5", "require": {"at_least": 0.1}}])
def test_gate_by_label_is_refused_where_nothing_has_one_and_the_refusal_says_what_to_ask(
    shop: httpx.Client, gate: dict[str, Any]
) -> None:
    said = _refused(shop, gate=gate)
    assert "no item of shop and no row of pairs has a label" in said
    _rows(shop, "judged")
    assert "pairs and judged" in _refused(shop, gate=gate, evaluation="judged")
    assert '{"metric": "recall@10", "require": {"at_least": 0.7}}' in said
    _started(shop, gate=AGREEMENT)


def test_dry_run_measures_all_the_same(shop: httpx.Client) -> None:
    _started(shop, dry_run=True)


def test_a_label_of_an_item_is_enough_to_be_looked_into(shop: httpx.Client) -> None:
    _refused(shop)
    _items(shop, label="one")
    _started(shop)


@pytest.mark.parametrize("field", ["dataset", "evaluation"])
def test_so_is_one_of_a_row(shop: httpx.Client, field: str) -> None:
    _rows(shop, "judged", label="one")
    _started(shop, **{field: "judged"})


@pytest.mark.parametrize("evaluation", [None, "judged"])
def test_so_are_judged_queries_of_both_models(shop: httpx.Client, evaluation: str | None) -> None:
    holding = evaluation or "pairs"
    query = {"id": "q", "relevant": [NAMES[0]], "embeddings": {"old": VECTOR["old"]}}
    checked(shop.put(f"/datasets/{holding}/queries", json=[query]))
    if evaluation is not None:
        _rows(shop, evaluation)
    _refused(shop, evaluation=evaluation)
    checked(shop.put(f"/datasets/{holding}/queries", json=[query | {"embeddings": VECTOR}]))
    _started(shop, evaluation=evaluation)


@pytest.mark.parametrize("label", [None, "topic"])
def test_items_in_a_store_may_have_labels_where_the_gallery_names_their_place(
    settings: Settings, tmp_path: Any, postgres_url: str, label: str | None
) -> None:
    """What is there is not asked for: the store may be away."""
    table = VectorTable.of_sqlalchemy(postgres_url, len(VECTOR["old"]))
    table.insert(NAMES, np.array([VECTOR["old"]] * len(NAMES), np.float32), [None] * len(NAMES))
    connections = connections_file(tmp_path, shop=table.uri)
    store = {"connection": "shop", "table": TABLE, **({} if label is None else {"label": label})}
    with serving(settings.model_copy(update={"connections": connections})) as client:
        _filled(client, store=store)
        if label is None:
            _refused(client)
            _started(client, gate=AGREEMENT)
        else:
            _started(client)


def test_commands_take_the_gate_that_the_refusal_names(shop: httpx.Client) -> None:
    asked = ("upgrades", "start", "old", "--to", "new", "--dataset", "pairs", "--url", str(shop.base_url))
    refused = run_command(*asked)
    assert refused.returncode != 0
    assert "nothing says which answers are right" in refused.stderr
    assert "--gate-metric" not in refused.stderr
    wrong = run_command(*asked, "--gate-metric", "recall@10", "--require", "nan")
    assert wrong.returncode != 0
    assert "Traceback" not in wrong.stderr
    done = run_command(*asked, "--gate-metric", "recall@10", "--require", "0.7")
    assert done.returncode == 0, done.stderr
    assert checked(shop.get(f"/upgrades/{done.stdout.strip()}"))["gate"] == AGREEMENT


def test_a_share_is_told_from_a_word() -> None:
    assert gate_body("map", "0.5") == {"metric": "map", "require": {"at_least": 0.5}}
    for word in ("better_than_old", "nan", "inf"):
        assert gate_body("map", word) == {"metric": "map", "require": word}
