"""Models name what makes their vectors: a connection of the operator's, whose secrets nobody is shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.embedding_server import connections_file
from tests.serving import serving

KEY = "sk-very-secret-indeed"
E5 = f'[e5]\nkind = "openai"\nurl = "http://embedder.invalid/v1"\nkey = "{KEY}"\nmodel = "e5-small"\n'
HERE = '[here]\nkind = "local"\nfolder = "/srv/models/e5-small"\n'
NAMELESS = '[nameless]\nkind = "openai"\nurl = "http://embedder.invalid/v1"\n'
MODEL = {"id": "new", "dimension": 384, "metric": "cosine", "queries": "apart"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("named")
    with serving(
        Settings(data_dir=folder / "data", connections=connections_file(folder, E5, HERE, NAMELESS))
    ) as client:
        yield client


def test_a_model_shows_how_it_is_embedded_and_not_where(client: httpx.Client) -> None:
    given = {"connection": "e5", "query_prefix": "query: ", "document_prefix": "passage: "}
    answer = client.post("/models", json=MODEL | {"id": "shown", "embedder": given})
    assert answer.status_code == 201
    shown = client.get("/models/shown")
    unsaid = dict.fromkeys(("model", "dimensions", "query_input_type", "document_input_type"))
    assert shown.json()["embedder"] == given | unsaid
    assert KEY not in shown.text
    assert "embedder.invalid" not in shown.text
    again = client.post("/models", json=MODEL | {"id": "shown", "embedder": given})
    assert again.status_code == 200
    other = client.post("/models", json=MODEL | {"id": "shown", "embedder": given | {"query_prefix": "q: "}})
    assert (other.status_code, other.json()["differing"]) == (409, ["embedder"])


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"embedder": {"connection": "e6"}}, "/embedder/connection", "No connection that embeds is named 'e6'"),
        ({"embedder": {"connection": "nameless"}}, "/embedder/model", "which one to ask for"),
        ({"embedder": {"connection": "e5", "dimensions": 256}}, "/embedder/dimensions", "384 dimensions"),
        ({"embedder": {"connection": "e5", "url": "http://elsewhere"}}, "/embedder/url", "not known"),
        ({"embedder": {"connection": "e5", "query_prefix": "q: "}, "queries": "same"}, "/queries", "apart"),
        ({"embedder": {"connection": "e5", "query_input_type": "query"}, "queries": "same"}, "/queries", "apart"),
        (
            {"embedder": {"connection": "here", "document_input_type": "passage"}},
            "/embedder/document_input_type",
            "is a folder",
        ),
    ],
)
def test_an_embedder_that_cannot_be_asked_is_refused_with_its_place(
    client: httpx.Client, body: dict[str, Any], pointer: str, said: str
) -> None:
    answer = client.post("/models", json=MODEL | body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert said in answer.json()["errors"][0]["message"]
    assert KEY not in answer.text


def test_a_registered_model_is_given_an_embedder_and_another(client: httpx.Client) -> None:
    assert client.post("/models", json={"id": "given", "dimension": 8, "metric": "ip"}).status_code == 201
    for connection in ({"connection": "e5"}, {"connection": "nameless", "model": "m"}):
        answer = client.put("/models/given/embedder", json=connection)
        assert answer.status_code == 200
        assert client.get("/models/given").json()["embedder"].items() >= connection.items()
    for refused in ({"connection": "e6"}, {"connection": "e5", "query_prefix": "q: "}):
        assert client.put("/models/given/embedder", json=refused).status_code == 422
    answer = client.put("/models/given/embedder", json={"connection": "e5", "document_input_type": "passage"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query_input_type")
    assert client.put("/models/none/embedder", json={"connection": "e5"}).status_code == 404
