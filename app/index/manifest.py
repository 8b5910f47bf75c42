"""The manifest of a published index: kind, sizes, tuning, and a digest of every file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.index.protocol import CorruptIndex, IndexOptions, Kind
from models.portable import Distance, digest

FILE = "manifest.json"
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's length in bytes and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Digest:
        return cls(path.stat().st_size, digest(path))


@dataclass(frozen=True, slots=True)
class Tuned:
    """The nprobe or ef_search that a score is searched with, and the recall@10 measured with it."""

    effort: int
    recall: float


@dataclass(frozen=True, slots=True)
class Trial:
    """How an approximate index did against comparing with every row: milliseconds of the processor that one query takes
    with it, `ms`, and without, `exact_ms`; medians. kind, effort, recall: of the index. rows: how many it held."""

    kind: Kind
    rows: int
    effort: int
    recall: float
    ms: float
    exact_ms: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """rows: how many there are, `zero_rows` of them without a direction. dead: how many more have a vector, and a place
    in the index, but are found no more. kind: what `options` came to. longest: length
    of the longest vector. tuned: for ip (and so cosine) and l2, unless the index is exact. version: the store version
    it was built from. created_at: ISO 8601. files: name → digest. trial: what `auto` chose by, perhaps for an index
    before this one; None where the kind was asked for, or goes by the number of rows alone.
    """

    version: int
    metric: Distance
    dimension: int
    rows: int
    zero_rows: int
    dead: int
    longest: float
    kind: Kind
    options: IndexOptions
    tuned: dict[Literal["ip", "l2"], Tuned]
    created_at: str
    files: dict[str, Digest]
    trial: Trial | None = None

    def tuning(self, score: Distance) -> Tuned | None:
        """How the index is searched by a score; None where it is exact."""
        return self.tuned.get("l2" if score == "l2" else "ip")

    @property
    def recall(self) -> float:
        """The share of the true 10 nearest that is found, by the index's own metric: 1 where it is exact."""
        tuned = self.tuning(self.metric)
        return tuned.recall if tuned else 1.0

    @property
    def bytes(self) -> int:
        """Of all its files but the manifest."""
        return sum(file.bytes for file in self.files.values())

    @property
    def parameters(self) -> dict[str, int]:
        """How it was built, and is searched by its own metric, under the names that `IndexOptions` has for it."""
        tuned, options = self.tuning(self.metric), self.options
        if tuned is None:
            return {}
        if self.kind == "hnsw":
            return {"m": options.m, "ef_construction": options.ef_construction, "ef_search": tuned.effort}
        return {"nlist": options.nlist_for(self.rows - self.zero_rows), "nprobe": tuned.effort}

    @property
    def checksum(self) -> str:
        """SHA-256 of everything the manifest says, the files' digests included."""
        return hashlib.sha256(json.dumps(self._plain(), sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The directory's name, made of the checksum: whoever points at it by name points at these very bytes."""
        return f"{self.version}-{self.checksum[:16]}"

    def dump(self) -> str:
        return json.dumps(self._plain() | {"checksum": self.checksum}, indent=2)

    @classmethod
    def load(cls, directory: Path) -> Manifest:
        """Reads a directory's manifest. Raises CorruptIndex where it is missing, unreadable, or altered."""
        try:
            plain: dict[str, Any] = json.loads((directory / FILE).read_bytes())
            checksum = plain.pop("checksum")
            if plain.pop("format") != _FORMAT:
                raise CorruptIndex(f"{directory}: the manifest is of another format")
            options = IndexOptions(**plain.pop("options"))
            files = {name: Digest(**digest) for name, digest in plain.pop("files").items()}
            tuned = {score: Tuned(**entry) for score, entry in plain.pop("tuned").items()}
            trial = plain.pop("trial", None)
            known = None if trial is None else Trial(**trial)
            manifest = cls(**plain, options=options, files=files, tuned=tuned, trial=known)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptIndex(f"{directory}: no readable manifest: {error}") from error
        if manifest.checksum != checksum:
            raise CorruptIndex(f"{directory}: the manifest is not as it was written")
        if directory.name != manifest.name:
            raise CorruptIndex(f"{directory}: the name is of another index")
        return manifest

    def _plain(self) -> dict[str, Any]:
        plain = {"format": _FORMAT} | dataclasses.asdict(self)
        if self.trial is None:  # as in manifests that were written before there were trials
            del plain["trial"]
        return plain
