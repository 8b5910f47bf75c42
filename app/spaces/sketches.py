"""Where the sketches of models' vectors are kept: a file a model below spaces/, derived from what is stored."""

import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import structlog

from models.portable import SpaceSignature, SpaceSketch, publish

log = structlog.get_logger(__name__)

StoredVectors = Callable[[str], Iterator[np.ndarray]]
"""Every stored vector that a model made, in pieces (n, d) float32."""

_SIGNED_AGAIN_AT = 2


@dataclass(frozen=True)
class SketchedModel:
    """A model as registered: the same id, registered anew, is another model."""

    id: str
    dimension: int
    created_at: datetime


@dataclass(frozen=True)
class _Signed:
    distinct: int
    signature: SpaceSignature | None


class Sketches:
    """The sketches of all models, and what is worked out from them.

    Two gateways that write one file at once may lose what one of them added: the sketch stays a sample of the model's
    vectors, a little smaller.
    """

    def __init__(self, folder: Path, stored: StoredVectors) -> None:
        self._folder = folder
        self._stored = stored
        self._lock = threading.Lock()
        self._signing = threading.Lock()
        self._read: dict[Path, tuple[int, SpaceSketch]] = {}
        self._signed: dict[Path, _Signed] = {}

    def find(self, model: SketchedModel) -> SpaceSketch | None:
        """What is known of a model's vectors; None where nothing was kept, or what was kept cannot be read."""
        path = self._path(model)
        try:
            written = path.stat().st_mtime_ns
        except OSError:
            return None
        known = self._read.get(path)
        if known is not None and known[0] == written:
            return known[1]
        try:
            sketch = SpaceSketch.from_bytes(path.read_bytes())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            log.warning("sketch cannot be read: it is made anew from what is stored", path=str(path))
            path.unlink(missing_ok=True)
            return None
        self._read[path] = written, sketch
        return sketch

    def learn(self, model: SketchedModel, seen: SpaceSketch) -> None:
        """Adds vectors to what is known of a model, and signs it anew where it has grown.

        Where nothing is known, it starts from all that is stored, whoever stored it: that is not kept by sender.
        """
        with self._lock:
            known = self.find(model)
            sketch = self._of_stored(model) if known is None else known
            sketch = sketch.merged(seen)
            if known is None or not np.array_equal(sketch.priorities, known.priorities):
                self._folder.mkdir(parents=True, exist_ok=True)
                publish(self._path(model), sketch.to_bytes())
        self.signature(model, anew=True)

    def signature(self, model: SketchedModel, *, anew: bool = False) -> SpaceSignature | None:
        """A model's signature; None where too little is known. `anew`: brought level where the model has grown."""
        sketch = self.find(model)
        if sketch is None:
            return None
        path = self._path(model)
        if (signed := self._signed.get(path)) is not None and not (anew and _outgrown(signed, sketch)):
            return signed.signature
        with self._signing:
            if (signed := self._signed.get(path)) is None or _outgrown(signed, sketch):
                signed = _Signed(sketch.distinct, SpaceSignature.of(sketch))
                self._signed[path] = signed
            return signed.signature

    def forget(self, model: SketchedModel) -> None:
        """Removes what is known of a model."""
        path = self._path(model)
        path.unlink(missing_ok=True)
        self._read.pop(path, None)
        self._signed.pop(path, None)

    def _of_stored(self, model: SketchedModel) -> SpaceSketch:
        sketch = SpaceSketch.empty(model.dimension)
        for vectors in self._stored(model.id):
            sketch = sketch.merged(SpaceSketch.of(vectors, sketch.below))
        return sketch

    def _path(self, model: SketchedModel) -> Path:
        return self._folder / f"{model.id}-{int(model.created_at.timestamp() * 1e6):x}.npz"


def _outgrown(signed: _Signed, sketch: SpaceSketch) -> bool:
    return signed.signature is None or sketch.distinct > _SIGNED_AGAIN_AT * signed.distinct
