"""A service whose database has a gate, so that requests queue up for as long as a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from app.overload.work import Work
from app.settings import Settings
from tests.serving import serving
from tests.waiting import wait_until


class Gated:
    """A service on PostgreSQL, and a gate in its database: while a table is locked, whoever needs it waits."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.client: httpx.Client
        self._settings = settings.model_copy(update={"database_url": url})
        self._url = url.replace("postgresql+psycopg://", "postgresql://")

    @contextmanager
    def open(self, **settings: object) -> Iterator[Gated]:
        with serving(self._settings.model_copy(update=settings)) as self.client:
            for path, body in (
                ("/models", {"id": "m", "dimension": 2, "metric": "l2"}),
                ("/galleries", {"id": "g", "model": "m"}),
            ):
                wait_until(partial(self._registered, path, body), f"POST {path}")
            yield self

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        with psycopg.connect(self._url) as connection:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            yield
            connection.rollback()

    def queue(self, work: Work) -> tuple[int, int]:
        """How many have a turn, and how many wait for one."""
        told = self._told(work)
        return told["crosswalk_queue_in_turn"], told["crosswalk_queue_waiting"]

    def refused(self, work: Work) -> int:
        """How many were refused so far."""
        return self._told(work)["crosswalk_queue_refused_total"]

    def until(self, work: Work, in_turn: int, waiting: int) -> None:
        wait_until(
            lambda: self.queue(work) == (in_turn, waiting),
            f"{in_turn} {work} in turn and {waiting} waiting",
            last=lambda: self.queue(work),
        )

    def _registered(self, path: str, body: object) -> bool:
        return self.client.post(path, json=body).is_success

    def _told(self, work: Work) -> dict[str, int]:
        return {
            sample.name: int(sample.value)
            for family in text_string_to_metric_families(self.client.get("/metrics").raise_for_status().text)
            for sample in family.samples
            if sample.labels.get("work") == work
        }

    def tells_its_state(self) -> bool:
        return all(self.client.get(path).is_success for path in ("/healthz", "/readyz", "/metrics", "/"))
