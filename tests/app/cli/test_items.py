"""Items are listed, exported and changed by commands, whatever their ids hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner, Result

from app.cli import resources

commands = typer.Typer()
resources.register(commands)


@pytest.fixture
def url(client: httpx.Client) -> str:
    """A service with model `m` and, of it, galleries `g`, which has items, and `h`, which has none."""
    client.post("/models", json={"id": "m", "dimension": 1, "metric": "l2"}).raise_for_status()
    for gallery in ("g", "h"):
        client.post("/galleries", json={"id": gallery, "model": "m"}).raise_for_status()
    items = [{"id": id, "embedding": [place], "label": id} for place, id in enumerate(("-a", "b/c", "d"))]
    client.put("/galleries/g/items?model=m", json=items).raise_for_status()
    return str(client.base_url)


def run(url: str, *words: str) -> Result:
    done = CliRunner().invoke(commands, [*words, f"--url={url}"])
    assert done.exit_code == 0, done.output
    return done


def printed(url: str, *words: str) -> Any:
    """The JSON that a command printed; the service, in this process too, logs to the same output."""
    done = run(url, *words)
    return json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{\n"))[0]


def test_a_list_goes_on_where_its_page_ended(url: str) -> None:
    first = printed(url, "galleries", "items", "g", "--limit=2", "--fields=label", "--vectors=m")
    assert first["items"][1] == {"id": "b/c", "label": "b/c", "embedding": [1.0]}
    rest = printed(url, "galleries", "items", "g", f"--cursor={first['next_cursor']}")
    assert [item["id"] for item in rest["items"]] == ["d"]


def test_an_exported_gallery_is_put_into_another(url: str, tmp_path: Path) -> None:
    out = tmp_path / "g.arrows"
    run(url, "galleries", "export", "g", f"--out={out}", "--vectors=m")
    assert pa.ipc.open_stream(out.read_bytes()).read_all().num_rows == 3
    assert printed(url, "galleries", "put", "h", str(out), "--model=m")["inserted"] == 3


def test_a_list_and_an_export_are_of_the_items_that_a_filter_lets_through(url: str, tmp_path: Path) -> None:
    only = '--filter={"label": {"gte": "b"}}'
    assert [item["id"] for item in printed(url, "galleries", "items", "g", only)["items"]] == ["b/c", "d"]
    out = tmp_path / "g.arrows"
    run(url, "galleries", "export", "g", f"--out={out}", only)
    assert pa.ipc.open_stream(out.read_bytes()).read_all().column("id").to_pylist() == ["b/c", "d"]


def test_labels_and_payloads_are_changed_of_one_item_and_of_many(url: str, tmp_path: Path) -> None:
    shown = printed(url, "galleries", "change", "g", "-a", "--label=x", '--payload={"n": 1}')
    assert (shown["label"], shown["payload"]) == ("x", {"n": 1})
    shown = printed(url, "galleries", "change", "g", "-a", "--clear-label")
    assert (shown["label"], shown["payload"]) == (None, {"n": 1})
    file = tmp_path / "labels.jsonl"
    file.write_text('{"id": "b/c", "label": "z"}\n{"id": "d", "label": null}\n')
    assert printed(url, "galleries", "change-many", "g", str(file)) == {"updated": 2}
    assert printed(url, "galleries", "item", "g", "b/c")["label"] == "z"


def test_items_are_searched_by_example_and_in_groups(url: str) -> None:
    found = printed(url, "search", "g", "--model=m", "--like=b/c", "--k=1", "--with-vectors")
    assert [hit["id"] for hit in found["results"]] == ["-a"]
    assert found["results"][0]["vector"] == [0.0]
    found = printed(url, "search", "g", "0.9", "--model=m", "--group-by=label", "--group-size=1", "--max-distance=0.95")
    assert [(group["label"], len(group["results"])) for group in found["groups"]] == [("b/c", 1), ("-a", 1)]
    done = CliRunner().invoke(commands, ["search", "g", "1", "--like=d", "--model=m", f"--url={url}"])
    assert done.exit_code == 2
