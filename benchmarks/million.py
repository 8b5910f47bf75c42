"""A gallery of a million items is upgraded while clients search and write it in several gateway processes.

    python -m benchmarks.million [--rows 1000000] [--minutes-at-most 60] [--seconds 30]

The real service (SQLite, its worker embedded) holds clustered vectors of an old model. Two clients search and one
writes at a steady pace over several connections each, from before the upgrade is started, from 1,000 pairs, until after
it is activated, rolled back, and activated again. They know every item's states, and so check each hit of each answer:

* wrong space: its score is not that of the query with the vector that the item has in the space that the answer names;
* stale: it was surely replaced or deleted before the search began, or what was acknowledged before is not found;
* torn: its score and its payload are those of different writes;
* errors: any answer that is no success, but for those that ask to come back later, which are counted apart.

Then nobody writes, the service is ended by SIGTERM and started again, and what searches find of the 10 exactly nearest
is measured before and after. Resident memory is the proportional set size of the gateway processes together, after as
many searches, beside the bytes of the indexes of both generations, which both models' queries keep in use.

Exits with status 1 where anything was wrong; then the service's data and log stay.
"""

from __future__ import annotations

import argparse
import io
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from benchmarks.million_clients import GALLERY, REFUSED, Caller, Stage, Tally, encoded, searching, writing
from benchmarks.million_recall import exactly_nearest, first_right_answer, recall
from benchmarks.million_service import RunningService
from benchmarks.million_truth import ModelName, Truth, name_of
from benchmarks.streaming import World
from models.portable import Array, Space

DIMENSION, PAIRS, QUERIES, CHUNK = 128, 1_000, 200, 50_000
_SETTLED = ("ready", "active", "rejected", "failed", "cancelled", "evaluated")
_ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
_WRONG = ("errors", "wrong space", "stale", "torn", "wrong generation", "wrong order")
_PAIRS_SEED, _QUERIES_SEED = 2**31 + 1, 2**31 + 2


@dataclass
class Run:
    """One run of the whole: what is measured is written down as it becomes known."""

    service: RunningService
    stage: Stage
    data: Path
    deadline: float
    figures: list[tuple[str, str]] = field(default_factory=list)

    def note(self, what: str, figure: str) -> None:
        self.figures.append((what, figure))
        print(f"{time.strftime('%H:%M:%S')} {what}: {figure}", flush=True)

    def until(self, look: Callable[[], Any], what: str) -> Any:
        """The first true thing that `look` returns. Raises TimeoutError once the run's time is over."""
        while not (seen := look()):
            if time.monotonic() > self.deadline:
                raise TimeoutError(f"the time was over while waiting for {what}")
            time.sleep(0.5)
        return seen

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.note(what, f"{time.monotonic() - began:.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--minutes-at-most", type=float, default=60, help="then what is known by then is shown")
    parser.add_argument("--seconds", type=float, default=30, help="of load in each state that is switched to")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the service is ended with it
    folder = Path(tempfile.mkdtemp(prefix="crosswalk-million-"))
    world, tally = World(DIMENSION), Tally()
    service = RunningService(folder, chosen.processes)
    base = np.concatenate([old for _, old in world.old(chosen.rows)])
    stage = Stage(service.url, Truth(base), tally, lambda seed, count: world.views(2**32 + seed, count))
    run = Run(service, stage, folder / "data", time.monotonic() + 60 * chosen.minutes_at_most)
    whole = False
    try:
        service.start()
        whole = _measured(run, chosen.seconds)
    except TimeoutError as over:
        run.note("not finished", str(over))
    finally:
        stage.stop.set()
        service.stop()
        _show(chosen, run)
    right = whole and not any(tally.counts[kind] for kind in _WRONG)
    if right:
        shutil.rmtree(folder)
    else:
        print(f"The service's log and data stay in {folder}")
    return 0 if right else 1


def _measured(run: Run, seconds: float) -> bool:
    """Everything from the empty service to the end of the checks; True, since it came to its end."""
    first_right = _filled(run)
    run.note("start until ready, empty", f"{first_right:.1f} s")
    with _load(run):
        time.sleep(seconds)
        upgrade = _upgraded(run)
        _switches(run, upgrade, seconds)
        run.note("connections of each gateway process", str(run.service.connections()))
    _looked_at(run)
    return True


def _filled(run: Run) -> float:
    """Registers everything, puts the items in, and waits for their index; the seconds until the service was ready."""
    with httpx.Client(base_url=run.service.url, timeout=600) as client:
        began = time.monotonic()
        run.until(lambda: _ready(client), "the service to start")
        ready = time.monotonic() - began
        for model in ("old", "new"):
            body = {"id": model, "dimension": DIMENSION, "metric": "cosine"}
            client.post("/models", json=body).raise_for_status()
        client.post("/galleries", json={"id": GALLERY, "model": "old"}).raise_for_status()
        base = run.stage.truth.base
        with run.timed("upserts in Arrow"):
            for start in range(0, len(base), CHUNK):
                part = base[start : start + CHUNK]
                names = [name_of(start + place) for place in range(len(part))]
                more = {
                    "payload": ['{"version": 0}'] * len(part),
                    "label": [f"label-{n % 100}" for n in range(len(part))],
                }
                items = _arrow(names, {"embedding": part}, more)
                url = f"/galleries/{GALLERY}/items?model=old"
                client.put(url, content=items, headers=_ARROW).raise_for_status()
        with run.timed("index published after"):
            run.until(lambda: _published(client, len(base)), "the first index")
        old, new = run.stage.views(_PAIRS_SEED, PAIRS)
        client.post("/datasets", json={"id": "pairs"}).raise_for_status()
        names = [f"pair-{number}" for number in range(PAIRS)]
        pairs = _arrow(names, {"embedding.old": old, "embedding.new": new}, {})
        client.put("/datasets/pairs/rows", content=pairs, headers=_ARROW).raise_for_status()
    return ready


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def _published(client: httpx.Client, rows: int) -> bool:
    """Whether the active generation's index holds at least so many rows; a search asks for one that does."""
    asked = {"gallery": GALLERY, "model": "old", "vector": encoded(np.ones(DIMENSION, np.float32))}
    client.get("/search", params=asked).raise_for_status()
    index = client.get(f"/galleries/{GALLERY}").raise_for_status().json()["published_index"]
    return index is not None and index["rows"] >= rows


@contextmanager
def _load(run: Run) -> Iterator[None]:
    """Two searchers and a writer, as long as the context is open."""
    threads = [threading.Thread(target=searching, args=(run.stage, number, 0.02)) for number in range(2)]
    threads.append(threading.Thread(target=writing, args=(run.stage, 0.1)))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        run.stage.stop.set()
        for thread in threads:
            thread.join()


def _upgraded(run: Run) -> str:
    """Starts the upgrade, and sees it through until it is ready; its id."""
    body = {
        "to": "new",
        "method": "ridge",
        "dataset": "pairs",
        "galleries": [GALLERY],
        "gate": {"metric": "recall@10", "require": {"at_least": 0.0}},
        "activate": "manually",
    }
    with httpx.Client(base_url=run.service.url, timeout=120) as client, run.timed("upgrade, queued until ready"):
        started = client.post("/models/old/upgrade", json=body).raise_for_status().json()

        def settled() -> dict[str, Any] | None:
            known: dict[str, Any] = client.get(f"/upgrades/{started['id']}").raise_for_status().json()
            if run.stage.phase != known["state"]:
                run.stage.phase = known["state"]
                print(f"{time.strftime('%H:%M:%S')} {known['state']}", flush=True)
            return known if known["state"] in _SETTLED else None

        ended = run.until(settled, "the upgrade")
    if ended["state"] != "ready":
        raise RuntimeError(f"the upgrade is {ended['state']}: {ended['reason']}")
    spaces = Space("old", DIMENSION, "cosine"), Space("new", DIMENSION, "cosine")
    crossing = open_crossing(UpgradeArtifacts(run.data / "artifacts", started["id"]), *spaces)
    run.stage.truth.carry = crossing.chosen.apply
    return str(started["id"])


def _switches(run: Run, upgrade: str, seconds: float) -> None:
    """Under load by both models, once the upgrade is ready: activates, rolls back, and activates again."""
    run.stage.models = ("old", "new")
    time.sleep(seconds)
    with httpx.Client(base_url=run.service.url, timeout=120) as client:
        for what, generation in (("activate", 2), ("rollback", 1), ("activate", 2)):
            switch = run.stage.truth.begin_switch(generation, time.monotonic())
            client.post(f"/upgrades/{upgrade}/{what}").raise_for_status()
            switch.ended = time.monotonic()
            run.stage.phase = "active" if generation == 2 else "rolled back"
            time.sleep(seconds)


def _looked_at(run: Run) -> None:
    """Recall before and after a restart, the time that it takes, and the memory held."""
    queries = dict(zip(("old", "new"), run.stage.views(_QUERIES_SEED, QUERIES), strict=True))
    models: tuple[ModelName, ...] = ("old", "new")
    wanted = {model: exactly_nearest(run.stage.truth, model, queries[model]) for model in models}

    def looked(when: str) -> None:
        caller = Caller(run.service.url, run.stage.tally)
        for model in models:
            share = recall(caller, run.stage.truth, model, queries[model], wanted[model])
            run.note(f"recall@10 {when} a restart, {model} queries", f"{share:.4f}")
        caller.close()
        resident, index = run.service.resident(), _index_bytes(run.data)
        run.note(f"resident {when} a restart", f"{resident / 2**20:,.0f} MiB, {resident / index:.2f} of the indexes")

    looked("before")
    run.note("the indexes of both generations", f"{_index_bytes(run.data) / 2**20:,.0f} MiB")
    run.note("SIGTERM until the end", f"{run.service.stop():.1f} s")
    began = run.service.start()
    answered = first_right_answer(run.service.url, run.stage.truth, run.deadline)
    run.note("start until the first right answer", f"{answered - began:.1f} s")
    looked("after")


def _index_bytes(data: Path) -> int:
    """Of the newest published index of each generation."""
    generations = [folder.glob("*/manifest.json") for folder in data.glob("galleries/*/indexes/*")]
    newest = [max(found, key=lambda path: path.stat().st_mtime).parent for found in generations]
    return sum(file.stat().st_size for folder in newest for file in folder.iterdir())


def _arrow(names: list[str], vectors: dict[str, Array], more: dict[str, list[str]]) -> bytes:
    """A table in Arrow's streaming format."""
    columns: dict[str, Any] = {"id": names, **more}
    for name, values in vectors.items():
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    table, body = pa.table(columns), io.BytesIO()
    with pa.ipc.new_stream(body, table.schema) as stream:
        stream.write_table(table)
    return body.getvalue()


def _show(chosen: argparse.Namespace, run: Run) -> None:
    tally = run.stage.tally
    table = Table(title=f"{chosen.rows:,} × {DIMENSION}, {chosen.processes} gateway processes")
    table.add_column("")
    table.add_column("", justify="right")
    for what, figure in run.figures:
        table.add_row(what, figure)
    table.add_section()
    for what in (
        "queries",
        "scores checked",
        "reads of what was written",
        "items written",
        "held back",
        REFUSED,
        *_WRONG,
    ):
        table.add_row(what, f"{tally.counts[what]:,}")
    table.add_section()
    for phase, waits in tally.waits.items():
        p50, p99 = 1e3 * np.quantile(waits, (0.5, 0.99))
        table.add_row(f"search while {phase}, p50 and p99", f"{p50:.1f} and {p99:.1f} ms")
    Console(width=120).print(table)
    for example in tally.examples:
        print(f"! {example}")


if __name__ == "__main__":
    sys.exit(main())
