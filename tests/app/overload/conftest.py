"""Services with a gate, and threads that wait at it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.settings import Settings
from tests.app.overload.gated import Gated


@pytest.fixture
def gated(settings: Settings, postgres_url: str) -> Gated:
    return Gated(settings, postgres_url)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads
