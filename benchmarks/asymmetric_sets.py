"""Retrieval sets of short questions and longer items, embedded by MiniLM and, with either prefix, by multilingual E5.

Docstrings: the summary line of a function asks for the rest. Intents: keywords ask for sentences of an intent of
CLINC150, one in five of them in German, which MiniLM does not know.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.clinc_keywords import GERMAN
from benchmarks.space_data import e5_passages, e5_queries, minilm, minilm_in_float32
from models.arrays import RowNumbers
from models.portable import Array

PACKAGES = ("numpy", "scipy", "sklearn")
ENGLISH_TO_GERMAN = 4  # English queries to a German one
_WORDS, _FEWEST_WORDS, _SUMMARY_WORDS = 60, 25, 5

Prefix = str
"""Of E5: "query" or "passage"."""


@dataclass(frozen=True)
class AsymmetricSet:
    """n items with MiniLM's vectors, old (n, d) float32, of which `paired` (p,) have E5's: by the prefix, (p, d).

    query_id: (q,); old_queries: (q, d) float32 by MiniLM; e5_queries: by the prefix, (q, d); relevant: the items that
    answer each query. seen: (s,) the queries that judge; fresh: (f,) those that measure afterwards.
    """

    id: list[str]
    old: Array
    paired: RowNumbers
    e5_paired: Mapping[Prefix, Array]
    query_id: list[str]
    old_queries: Array
    e5_queries: Mapping[Prefix, Array]
    relevant: Sequence[Sequence[int]]
    seen: RowNumbers
    fresh: RowNumbers


def docstring_set(cache: Path, passages: int, pairs: int, queries: int) -> AsymmetricSet:
    """Of public docstrings of installed packages; `queries` judge, and the others of no pair measure afterwards."""
    texts = _docstrings(passages)
    rng = np.random.default_rng(0)
    paired, asked = (np.sort(rng.permutation(len(texts.ids))[:many]) for many in (pairs, queries))
    to_pair = [texts.passages[row] for row in paired.tolist()]
    return AsymmetricSet(
        texts.ids,
        _embedded(cache, "asymmetric-old-p", texts.passages, minilm),
        paired,
        _by_prefix(cache, "p", to_pair),
        [f"q-{id}" for id in texts.ids],
        _embedded(cache, "asymmetric-old-q", texts.queries, minilm),
        _by_prefix(cache, "q", texts.queries),
        [[row] for row in range(len(texts.ids))],
        asked,
        np.setdiff1d(np.arange(len(texts.ids)), np.union1d(asked, paired)),
    )


def intent_set(data: Path, cache: Path, pairs: int) -> AsymmetricSet:
    """Of CLINC150's 18,000 training sentences; all queries judge, and measure afterwards as well."""
    train = pq.read_table(data / "clinc150" / "train.parquet", columns=["id", "text", "label"])
    label, text = np.array(train.column("label").to_pylist()), train.column("text").to_pylist()
    intents = sorted(GERMAN)
    keywords = [(intent, "en", intent.replace("_", " ")) for intent in intents]
    keywords += [(intent, "de", GERMAN[intent]) for intent in intents[::ENGLISH_TO_GERMAN]]
    queries = [keyword for _, _, keyword in keywords]
    paired = np.sort(np.random.default_rng(0).permutation(len(train))[:pairs])
    of_intent = {intent: np.flatnonzero(label == intent).tolist() for intent in intents}
    every = np.arange(len(queries))
    return AsymmetricSet(
        train.column("id").to_pylist(),
        minilm_in_float32(data, cache)[: len(train)],
        paired,
        _by_prefix(cache, "intent-p", [text[row] for row in paired.tolist()]),
        [f"{language}-{intent}" for intent, language, _ in keywords],
        _embedded(cache, "asymmetric-old-intent-q", queries, minilm),
        _by_prefix(cache, "intent-q", queries),
        [of_intent[intent] for intent, _, _ in keywords],
        every,
        every,
    )


def _by_prefix(cache: Path, name: str, texts: Sequence[str]) -> dict[Prefix, Array]:
    makers = {"query": e5_queries, "passage": e5_passages}
    return {
        prefix: _embedded(cache, f"asymmetric-e5-{prefix}-{name}", texts, maker) for prefix, maker in makers.items()
    }


def _embedded(cache: Path, name: str, texts: Sequence[str], maker: Callable[[], Callable[[list[str]], Array]]) -> Array:
    """The vectors of texts, (n, d) float32, kept in a file of the cache."""
    file = cache / f"{name}-{len(texts)}.npy"
    if not file.exists():
        embed, order = maker(), np.argsort([len(text) for text in texts])
        parts = [embed([texts[row] for row in order[start : start + 32]]) for start in range(0, len(order), 32)]
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        np.save(file, vectors)
    return np.asarray(np.load(file))


@dataclass(frozen=True)
class _Docstrings:
    """n summaries, as queries, and the passage that answers each; ids: of both."""

    ids: list[str]
    queries: list[str]
    passages: list[str]


def _docstrings(most: int) -> _Docstrings:
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
    return _Docstrings([items[r][1] for r in rows], [items[r][0] for r in rows], [items[r][2] for r in rows])


def _documented(file: Path) -> Iterator[tuple[str, str]]:
    """The public functions and classes of a source file that have a docstring, and that."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if doc := ast.get_docstring(node):
            yield node.name, doc
