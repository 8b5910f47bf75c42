"""Watches streams of vectors that come a few at a time: queries, and items and rows put one by one. Nothing is refused;
what does not look right is told."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
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
StreamKind = Literal["queries", "items", "rows"]
Stream = tuple[StreamKind, str, str]
"""What comes, the gallery (of rows: the dataset), and the model that it is said to be of."""


def foreign_streams(registry: CollectorRegistry) -> Counter:
    """The metric of what is found, registered. An application makes it once, however often it is opened and closed."""
    return Counter(
        "crosswalk_foreign_streams",
        "Times that 64 vectors in a row looked like another model's.",
        ("kind",),
        registry=registry,
    )


class StreamWatch:
    """Keeps the last vectors of each stream, and judges every 64 of them in a thread of its own.

    To the request that brings them it costs a copy. What is found holds until the next 64 look right. While 64 of a
    stream wait to be judged, the next 64 of it are let go.
    """

    def __init__(self, guard: SpaceGuard, *, off: bool) -> None:
        self._guard = guard
        self._off = off
        self._lock = threading.Lock()
        self._recent: OrderedDict[Stream, list[np.ndarray]] = OrderedDict()
        self._waiting: set[Stream] = set()
        self._warnings: dict[Stream, str] = {}
        self._judges = ThreadPoolExecutor(1, "space-guard")
        self._found: Counter | None = None

    def count_in(self, found: Counter) -> None:
        """Counts what is found from now on in a metric that `foreign_streams` made."""
        self._found = found

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
                del self._recent[stream]
                if stream not in self._waiting:
                    self._waiting.add(stream)
                    full = recent
            elif len(self._recent) > _MOST_STREAMS:
                self._recent.popitem(last=False)
            warning = self._warnings.get(stream)
        if full is not None:
            self._judges.submit(self._judge, stream, np.concatenate(full))
        return warning

    def saw_each(self, kind: StreamKind, holder: str, by_model: Mapping[str, np.ndarray]) -> list[str]:
        """What `saw` tells of the streams of several models that one body brought."""
        told = (self.saw((kind, holder, model), vectors) for model, vectors in by_model.items())
        return [warning for warning in told if warning is not None]

    def warnings(self, model: str, sees: Callable[[Stream], bool]) -> list[str]:
        """What is wrong with streams that are said to be of a model, by what this process saw.

        sees: whether whoever asks is to learn of a stream.
        """
        with self._lock:
            found = sorted(self._warnings.items())
        return [warning for stream, warning in found if stream[2] == model and sees(stream)]

    def forget(self, which: Callable[[Stream], bool]) -> None:
        """Drops what was seen and found of streams, once their gallery, dataset or model is removed."""
        with self._lock:
            for stream in [one for one in (*self._recent, *self._waiting, *self._warnings) if which(one)]:
                self._recent.pop(stream, None)
                self._waiting.discard(stream)
                self._warnings.pop(stream, None)

    def close(self) -> None:
        self._judges.shutdown(cancel_futures=True)

    def _judge(self, stream: Stream, vectors: np.ndarray) -> None:
        kind, holder, model = stream
        judgement = None
        try:
            judgement = self._guard.judge(model, vectors)
        except NotFound:
            pass
        except Exception:  # nobody asks the future for its result: whatever it is would be swallowed unsaid
            log.exception("a stream of vectors could not be judged", kind=kind, holder=holder, model=model)
        with self._lock:
            forgotten = stream not in self._waiting
            self._waiting.discard(stream)
            if judgement is None or forgotten:
                return
            if not judgement.foreign:
                self._warnings.pop(stream, None)
                return
            if len(self._warnings) >= _MOST_STREAMS:
                self._warnings.pop(next(iter(self._warnings)))
            where = "dataset" if kind == "rows" else "gallery"
            self._warnings[stream] = f"Of {where} {holder!r}, the last {kind}: {explain(model, judgement)}"
        log.warning(
            "a stream of another model's vectors", kind=kind, holder=holder, model=model, likely=judgement.likely
        )
        if self._found is not None:
            self._found.labels(kind).inc()
