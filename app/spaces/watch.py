"""Watches streams of vectors that come a few at a time: queries, and items put one by one. Nothing is refused; what
does not look right is told."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import structlog
from prometheus_client import CollectorRegistry, Counter

from app.problems import NotFound
from app.spaces.guard import SpaceGuard, explain
from models.portable import ROWS_TO_JUDGE, spread_out

log = structlog.get_logger(__name__)

_MOST_STREAMS = 1_024
StreamKind = Literal["queries", "items"]
Stream = tuple[StreamKind, str, str]
"""What comes, the gallery, and the model that it is said to be of."""


class StreamWatch:
    """Keeps the last vectors of each stream, and judges every 64 of them in a thread of its own.

    To the request that brings them it costs a copy. What is found holds until the next 64 look right.
    """

    def __init__(self, guard: SpaceGuard, *, off: bool) -> None:
        self._guard = guard
        self._off = off
        self._lock = threading.Lock()
        self._recent: OrderedDict[Stream, list[np.ndarray]] = OrderedDict()
        self._warnings: dict[Stream, str] = {}
        self._judges = ThreadPoolExecutor(1, "space-guard")
        self._found: Counter | None = None

    def measure(self, registry: CollectorRegistry) -> None:
        """Counts what is found in a registry of metrics."""
        self._found = Counter(
            "crosswalk_foreign_streams",
            "Times that 64 vectors in a row looked like another model's.",
            ("kind",),
            registry=registry,
        )

    def saw(self, stream: Stream, vectors: np.ndarray) -> str | None:
        """Takes note of vectors (n, d); what is wrong with the stream as far as is known by now."""
        if self._off or not len(vectors):
            return None
        full = None
        with self._lock:
            recent = self._recent.setdefault(stream, [])
            self._recent.move_to_end(stream)
            recent.append(spread_out(vectors, ROWS_TO_JUDGE).copy())
            if sum(map(len, recent)) >= ROWS_TO_JUDGE:
                full = self._recent.pop(stream)
            elif len(self._recent) > _MOST_STREAMS:
                self._recent.popitem(last=False)
            warning = self._warnings.get(stream)
        if full is not None:
            self._judges.submit(self._judge, stream, np.concatenate(full))
        return warning

    def warnings(self, model: str, sees: Callable[[str], bool]) -> list[str]:
        """What is wrong with streams that are said to be of a model, by what this process saw.

        sees: whether whoever asks is to learn of a gallery.
        """
        with self._lock:
            found = sorted(self._warnings.items())
        return [warning for (_, gallery, of), warning in found if of == model and sees(gallery)]

    def close(self) -> None:
        self._judges.shutdown(cancel_futures=True)

    def _judge(self, stream: Stream, vectors: np.ndarray) -> None:
        kind, gallery, model = stream
        try:
            judgement = self._guard.judge(model, vectors)
        except NotFound:
            return
        except Exception:
            log.exception("a stream of vectors could not be judged", kind=kind, gallery=gallery, model=model)
            return
        if judgement is None:
            return
        with self._lock:
            if not judgement.foreign:
                self._warnings.pop(stream, None)
                return
            if len(self._warnings) >= _MOST_STREAMS:
                self._warnings.pop(next(iter(self._warnings)))
            self._warnings[stream] = f"Of gallery {gallery!r}, the last {kind}: {explain(model, judgement)}"
        log.warning(
            "a stream of another model's vectors", kind=kind, gallery=gallery, model=model, likely=judgement.likely
        )
        if self._found is not None:
            self._found.labels(kind).inc()
