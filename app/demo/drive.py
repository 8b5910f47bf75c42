"""Drives an upgrade from outside, as a user's program would: HTTP and nothing else."""

import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from app.demo.digits import NEW_DIMENSION, OLD_DIMENSION, SIDE_DIMENSION, Digits

OLD, NEW, GALLERY, RE_EMBEDDED = "digits-old", "digits-new", "digits", "digits-re-embedded"
PAIRS = 300


@dataclass(frozen=True)
class Accuracy:
    """The share of queries whose first answer is the same digit, with its 95 % interval (Wilson)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, right: NDArray[np.bool_]) -> "Accuracy":
        n, p, z = len(right), float(right.mean()), 1.96
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return cls(p, (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))


class Driver:
    """One user's session with a service that has nothing registered yet."""

    def __init__(self, client: httpx.Client, digits: Digits) -> None:
        self._client = client
        self._digits = digits

    def register(self) -> None:
        """Both models, the gallery of old vectors with side-information, and one of new vectors to compare with."""
        gallery = self._digits.gallery
        self._post("/models", {"id": OLD, "dimension": OLD_DIMENSION, "metric": "cosine", "modality": "image"})
        self._post("/models", {"id": NEW, "dimension": NEW_DIMENSION, "metric": "cosine", "modality": "image"})
        self._post("/galleries", {"id": GALLERY, "model": OLD, "side_information": {"dimension": SIDE_DIMENSION}})
        self._post("/galleries", {"id": RE_EMBEDDED, "model": NEW})
        columns = {"id": np.array(gallery.id), "label": gallery.label}
        side = self._digits.side(gallery.pixels)
        self._put_items(GALLERY, OLD, **columns, embedding=self._digits.old(gallery.pixels), side_information=side)
        self._put_items(RE_EMBEDDED, NEW, **columns, embedding=self._digits.new(gallery.pixels))

    def embed_sample(self) -> int:
        """Asks which items teach the crossing best, and embeds those with the new model; how many they were."""
        ids = self._sample()
        rows = np.array([self._digits.gallery.id.index(item) for item in ids])
        self._post("/datasets", {"id": "pairs"})
        body = _npz(id=np.array(ids), **{f"embedding.{NEW}": self._digits.new(self._digits.gallery.pixels[rows])})
        _checked(self._client.put("/datasets/pairs/rows", content=body, headers={"content-type": "application/x-npz"}))
        return len(ids)

    def upgrade(self) -> str:
        """Starts the upgrade; its id."""
        body = {"to": NEW, "method": "auto", "dataset": "pairs", "galleries": [GALLERY]}
        started = self._post(f"/models/{OLD}/upgrade", body)
        return str(started["id"])

    def follow(self, upgrade: str) -> Iterator[dict[str, Any]]:
        """The upgrade as it stands, ten times a second, until it has ended; its end is the last."""
        while True:
            now = _checked(self._client.get(f"/upgrades/{upgrade}")).json()
            yield now
            if now["state"] in ("active", "ready", "rejected", "failed", "cancelled"):
                return
            time.sleep(0.1)

    def roll_back(self, upgrade: str) -> None:
        _checked(self._client.post(f"/upgrades/{upgrade}/rollback"))

    def activate(self, upgrade: str) -> None:
        _checked(self._client.post(f"/upgrades/{upgrade}/activate"))

    def accuracy(self, gallery: str, model: str) -> tuple[Accuracy, str]:
        """How often a query's first answer is the same digit, and the route that answered."""
        embed = {OLD: self._digits.old, NEW: self._digits.new}[model]
        vectors = embed(self._digits.queries.pixels).tolist()
        answer = self._post("/search", {"gallery": gallery, "model": model, "k": 1, "vectors": vectors})
        first_labels = np.array([int(hits[0]["label"]) for hits in answer["results"]])
        return Accuracy.of(first_labels == self._digits.queries.label), str(answer["route"])

    def _sample(self) -> list[str]:
        while (answer := self._client.get(f"/galleries/{GALLERY}/sample", params={"n": PAIRS})).status_code == 202:
            time.sleep(float(answer.headers.get("retry-after", "1")))
        return list(_checked(answer).json()["ids"])

    def _put_items(self, gallery: str, model: str, **columns: NDArray[Any]) -> None:
        headers = {"content-type": "application/x-npz"}
        url = f"/galleries/{gallery}/items"
        _checked(self._client.put(url, params={"model": model}, content=_npz(**columns), headers=headers))

    def _post(self, url: str, body: dict[str, Any]) -> Any:
        return _checked(self._client.post(url, json=body)).json()


def _npz(**columns: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **columns)
    return buffer.getvalue()


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}")
    return answer
