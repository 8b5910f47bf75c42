"""The registry over HTTP, on both databases."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

OLD = {"id": "tfidf-v1", "dimension": 4, "metric": "cosine", "modality": "text", "description": "The old one."}


def test_registering_answers_the_model_and_where_it_is(client: httpx.Client) -> None:
    answer = client.post("/models", json=OLD)
    assert answer.status_code == 201
    assert answer.headers["location"] == "/models/tfidf-v1"
    assert answer.json() == OLD | {
        "queries": "same",
        "embedder": None,
        "trained_by": None,
        "compatible_with": None,
        "side_information_for": None,
        "training": None,
        "warnings": [],
        "created_at": answer.json()["created_at"],
    }
    assert client.get(answer.headers["location"]).json() == answer.json()


def test_registering_the_same_body_again_is_harmless(client: httpx.Client) -> None:
    first, second = (client.post("/models", json=OLD) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


def test_registering_another_body_names_what_differs(client: httpx.Client) -> None:
    client.post("/models", json=OLD)
    answer = client.post("/models", json=OLD | {"dimension": 8, "description": None})
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/id-taken"
    assert answer.json()["differing"] == ["dimension", "description"]
    assert client.get("/models/tfidf-v1").json()["dimension"] == 4


def test_of_many_who_register_at_once_one_is_first(each_client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: each_client.post("/models", json=OLD).status_code, range(16)))
    assert sorted(answers) == [200] * 15 + [201]


def test_a_deleted_model_is_gone(client: httpx.Client) -> None:
    client.post("/models", json=OLD)
    answer = client.delete("/models/tfidf-v1")
    assert (answer.status_code, answer.content) == (204, b"")
    for gone in (client.get("/models/tfidf-v1"), client.delete("/models/tfidf-v1")):
        assert gone.status_code == 404
        assert "POST /models" in gone.json()["detail"]


def test_a_model_in_use_stays_and_its_users_are_named(each_client: httpx.Client) -> None:
    each_client.post("/models", json=OLD)
    assert each_client.post("/galleries", json={"id": "faq", "model": "tfidf-v1"}).status_code == 201
    answer = each_client.delete("/models/tfidf-v1")
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/in-use"
    assert answer.json()["used_by"] == ["gallery faq"]
    assert each_client.get("/models/tfidf-v1").status_code == 200


def test_pages_together_are_the_whole_list_whatever_is_written_meanwhile(each_client: httpx.Client) -> None:
    for number in range(7):
        each_client.post("/models", json=OLD | {"id": f"m-{number}"})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = each_client.get("/models", params={"limit": 3, **cursor}).json()
        assert len(page["items"]) <= 3
        seen += [model["id"] for model in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        each_client.post("/models", json=OLD | {"id": "a-new-one-before-the-cursor"})
    assert seen == [f"m-{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"id": "Upper"}, "/id"),
        ({"id": ""}, "/id"),
        ({"id": "-dash-first"}, "/id"),
        ({"id": "a" * 64}, "/id"),
        ({"id": "line-break\n"}, "/id"),
        ({"dimension": 0}, "/dimension"),
        ({"dimension": 65_537}, "/dimension"),
        ({"dimension": "4"}, "/dimension"),
        ({"dimension": 4.5}, "/dimension"),
        ({"dimension": True}, "/dimension"),
        ({"metric": "euclid"}, "/metric"),
        ({"modality": "x" * 65}, "/modality"),
        ({"description": "nul \x00"}, "/description"),
        ({"descripton": "a typo"}, "/descripton"),
    ],
)
def test_a_field_that_breaks_a_rule_is_named(
    shared_client: httpx.Client, change: dict[str, object], pointer: str
) -> None:
    answer = shared_client.post("/models", json=OLD | change)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert shared_client.get("/models").json()["items"] == []
