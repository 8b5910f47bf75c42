"""The first sentences of what scikit-learn says of its functions and classes, and an old embedding model of them, which
counts words (TF-IDF, 64 dimensions by SVD).
"""

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from models.portable import Array

OLD_DIMENSION = 64
_SHORTEST, _LONGEST = 25, 300  # characters of a text
_FEWEST = 12  # texts of a topic


@dataclass(frozen=True)
class LibraryTexts:
    """Texts, each with its topic: the part of the library that it is about."""

    text: list[str]
    topic: list[str]


def documented() -> LibraryTexts:
    """About 1,100 texts of some twenty topics. Nothing of the library is run: its source is read."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("scikit-learn is not installed")
    topic_of: dict[str, str] = {}
    root = Path(spec.origin).parent
    for path in sorted(root.glob("*/*.py")):
        topic = path.parent.name
        if not topic.startswith(("_", "tests", "externals")):
            for text in _said(path.read_text()):
                topic_of.setdefault(text, topic)
    many = {topic for topic, texts in Counter(topic_of.values()).items() if texts >= _FEWEST}
    kept = [(text, topic) for text, topic in topic_of.items() if topic in many]
    return LibraryTexts([text for text, _ in kept], [topic for _, topic in kept])


def _said(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            if _SHORTEST <= len(text) <= _LONGEST:
                yield text


class CountedWords:
    """TF-IDF of the texts that it was fitted to, reduced by SVD."""

    def __init__(self, texts: Sequence[str]) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._counts = TfidfVectorizer(sublinear_tf=True, stop_words="english")
        self._reduced = TruncatedSVD(OLD_DIMENSION, random_state=0)
        self._reduced.fit(self._counts.fit_transform(texts))

    def embed(self, texts: Sequence[str]) -> Array:
        """(n, 64) float32."""
        vectors: Array = self._reduced.transform(self._counts.transform(texts)).astype(np.float32)
        return vectors
