"""`crosswalk demo --pgvector`: the upgrade of a table in the user's own PostgreSQL, which stays where it is."""

import io
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

from app.demo.documented import NEW_DIMENSION, OLD_DIMENSION, CountedWords, MiniLM, documented
from app.demo.run import followed
from app.demo.service import ended_by_signals, running_service
from app.demo.users_database import TABLE, VECTOR, VIEW, UsersDatabase, missing_packages, running_database

_FOLDER, _GALLERY, _OLD, _NEW, _PAIRS = "crosswalk-demo-", "documents", "word-counts", "minilm", 500
_QUESTION = "how good is a classifier on data that it has not seen"
_GATE = {"metric": "cmc@1", "require": {"at_least": 0.5}}
_ENDED = ("active", "ready", "rejected", "failed", "cancelled")


def run_in_store(*, keep: bool, port: int | None) -> int:
    """Runs the demonstration; 0 where the upgrade was accepted, and nothing that the user wrote has changed."""
    console = Console(soft_wrap=True)
    if missing := missing_packages():
        console.print(f"[red]This demonstration needs {', '.join(missing)}:[/] pip install {' '.join(missing)}")
        return 1
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix=_FOLDER) as folder:
        console.print("Starting a PostgreSQL from its wheel, and a service of its own…")
        with running_database() as database:
            connections = Path(folder) / "connections.toml"
            connections.write_text(f'[shop]\nkind = "pgvector"\nurl = "{database.uri}"\n')
            with running_service(Path(folder), port, {"CROSSWALK_CONNECTIONS": str(connections)}) as url:
                console.print(f"Service at [bold]{url}[/]")
                with httpx.Client(base_url=url, timeout=600) as client:
                    passed = _Demonstration(console, client, database).run()
                if keep:
                    with suppress(SystemExit):
                        console.print(f"Swagger UI: {url}/docs\npsql:       psql '{database.uri}'", highlight=False)
                        console.print("Both stay up. Press Ctrl+C to stop them.")
                        signal.pause()
    return 0 if passed else 1


class _Demonstration:
    def __init__(self, console: Console, client: httpx.Client, database: UsersDatabase) -> None:
        self._console = console
        self._client = client
        self._database = database

    def run(self) -> bool:
        """Whether the upgrade was accepted, and left what was there as it was."""
        texts = documented()
        old = CountedWords(texts.text)
        self._database.fill(texts.text, texts.topic, old.embed(texts.text))
        before = self._database.checksum()
        self._say(f"Table {TABLE!r}: {len(texts.text):,} texts with vectors of the old model, which counts words.")
        self._register()
        sample = self._sample()
        new = MiniLM()
        self._put_pairs(sample, new.embed([texts.text[number - 1] for number in sample]))
        self._say(f"Embedded {len(sample)} chosen texts with the new model, MiniLM; starting the upgrade.")
        body = {"to": _NEW, "dataset": "pairs", "galleries": [_GALLERY], "gate": _GATE}
        upgrade = str(self._post(f"/models/{_OLD}/upgrade", body)["id"])
        last = followed(self._console, self._follow(upgrade))
        for proved in ((last["report"] or {}).get("galleries") or {}).values():
            self._say(f"[bold]{proved['recommendation']['sentence']}[/]")
        if last["state"] != "active":
            self._say(f"[red]The upgrade ended as {last['state']}: {last['reason']}[/]")
            return False
        self._show(old, new, last)
        seen = [self._database.dimensions_seen()]
        for move in ("rollback", "activate"):
            self._post(f"/upgrades/{upgrade}/{move}")
            seen.append(self._database.dimensions_seen())
        same = self._database.checksum() == before
        self._say(
            f"Readers of {VIEW} saw vectors of {seen[0]} numbers; rolled back, {seen[1]}; activated again, {seen[2]}."
        )
        self._say(f"What was in the table before is {'the same to the bit' if same else '[red]not the same[/]'}.")
        return same and seen == [NEW_DIMENSION, OLD_DIMENSION, NEW_DIMENSION]

    def _register(self) -> None:
        for model, dimension in ((_OLD, OLD_DIMENSION), (_NEW, NEW_DIMENSION)):
            self._post("/models", {"id": model, "dimension": dimension, "metric": "cosine", "modality": "text"})
        store = {"connection": "shop", "table": TABLE, "vector": VECTOR, "text": "body", "label": "topic"}
        self._post("/galleries", {"id": _GALLERY, "model": _OLD, "store": store})
        self._post("/datasets", {"id": "pairs"})

    def _sample(self) -> list[int]:
        path = f"/galleries/{_GALLERY}/sample"
        while (answer := self._client.get(path, params={"n": _PAIRS})).status_code == 202:
            time.sleep(float(answer.headers.get("retry-after", "1")))
        return [int(one) for one in _checked(answer).json()["ids"]]

    def _put_pairs(self, sample: list[int], vectors: np.ndarray) -> None:
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"id": np.array([str(one) for one in sample]), f"embedding.{_NEW}": vectors}
        np.savez(buffer, **arrays)
        headers = {"content-type": "application/x-npz"}
        _checked(self._client.put("/datasets/pairs/rows", content=buffer.getvalue(), headers=headers))

    def _follow(self, upgrade: str) -> Iterator[dict[str, Any]]:
        while True:
            now = _checked(self._client.get(f"/upgrades/{upgrade}")).json()
            yield now
            if now["state"] in _ENDED:
                return
            time.sleep(0.1)

    def _show(self, old: CountedWords, new: MiniLM, upgrade: dict[str, Any]) -> None:
        self._say(f"\n[bold]SQL of table {TABLE}:[/] {', '.join(' '.join(one) for one in self._database.columns())}")
        self._say(upgrade["statements"].get(_GALLERY, ""))
        asked = ((TABLE, "old", old), (VIEW, "new", new))
        for table, name, model in asked:
            self._say(f"\n[bold]SELECT … FROM {table} ORDER BY {VECTOR} <=> <{name} model of {_QUESTION!r}>[/]")
            for topic, text in self._database.nearest(model.embed([_QUESTION])[0], table):
                self._say(f"  {topic:18} {text}")
        self._say("")

    def _post(self, url: str, body: dict[str, Any] | None = None) -> Any:
        return _checked(self._client.post(url, json=body)).json()

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}")
    return answer
