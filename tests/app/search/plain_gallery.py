"""A service with a gallery of two items, for what is asked of it in plain ways and others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from app.settings import Settings
from tests.serving import serving


@contextmanager
def plain_gallery(settings: Settings) -> Iterator[httpx.Client]:
    """A client of it: gallery `g` of the model `m`, and a model `stranger` that nothing leads from."""
    with serving(settings) as client:
        for model in ("m", "stranger"):
            client.post("/models", json={"id": model, "dimension": 2, "metric": "cosine"}).raise_for_status()
        client.post("/galleries", json={"id": "g", "model": "m"}).raise_for_status()
        items = [{"id": "a", "embedding": [1, 0], "label": "x", "payload": {"n": 1}}, {"id": "b", "embedding": [0, 1]}]
        client.put("/galleries/g/items?model=m", json={"items": items}).raise_for_status()
        yield client
